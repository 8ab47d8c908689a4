"""`onedpiece compare` as a person types it."""

import csv
import json
from pathlib import Path
from shutil import copy
from typing import Any

import pytest

from onedpiece.errors import MissingWeightsError
from onedpiece.metrics import registry

ONE_CORE = ("--workers", 1)


def test_one_photo_gives_a_table_and_a_picture(cli: Any, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    result = cli(
        "compare",
        photos / "a.png",
        "--bytes",
        "16,96",
        "--against",
        "webp",
        "--metrics",
        "psnr",
        "--out",
        out,
        *ONE_CORE,
    )
    assert (result.status, "side_by_side.png" in result.err) == (0, True)
    text = result.out.decode()
    assert "PSNR (dB) (higher is better)" in text
    webp = next(line for line in text.splitlines() if "webp" in line)
    # WebP's smallest file has 46 bytes.
    assert "\N{EN DASH}" in webp
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "curves/onedpiece.json",
        "curves/webp.json",
        "rd.png",
        "report.html",
        "results.csv",
        "side_by_side.png",
    ]


def test_files_are_written_though_nobody_reads_the_tables(
    cli: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise SystemExit(1)

    monkeypatch.setattr("onedpiece.cli.compare._print_tables", gone)
    odd = photos / "cat\udcff.png"  # no UTF-8
    copy(photos / "a.png", odd)
    words = ("--bytes", "96", "--against", "webp", "--metrics", "psnr", "--out", tmp_path / "r", *ONE_CORE)
    with pytest.raises(SystemExit):
        cli("compare", odd, *words)
    assert "cat\\udcff" in (tmp_path / "r" / "results.csv").read_text(encoding="utf-8")
    assert (tmp_path / "r" / "report.html").is_file()


def test_corrupt_photos_are_named_and_the_rest_goes_on(cli: Any, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_text("not a picture")
    result = cli(
        "compare",
        photos,
        "--bytes",
        "16",
        "--against",
        "",
        "--metrics",
        "psnr",
        "--out",
        tmp_path,
        "--json",
        *ONE_CORE,
    )
    assert result.status == 1
    assert "onedpiece: broken.png: not a picture" in result.err
    (curve,) = json.loads(result.out)
    assert curve["results"]["photos"] == [2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--bytes", "many"), "--bytes is 'many'; give whole numbers by commas"),
        (("--bytes", ""), "--bytes is ''; give whole numbers by commas"),
        (("--device", "nowhere"), "device 'nowhere' cannot be used"),
        (("--bytes", "0"), "give at least one, each of at least 1 byte"),
        (("--metrics", "vmaf"), "no metric 'vmaf'; there are: psnr"),
        (("--metrics", "psnr", "--against", "heic"), "no format 'heic'; there are: jpeg"),
        (("--metrics", "psnr", "--model", "nobody"), "no model 'nobody'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    cli: Any, photos: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    result = cli("compare", photos, *words, "--out", tmp_path / "r")
    assert result.status == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_missing_photo(cli: Any, tmp_path: Path) -> None:
    result = cli("compare", tmp_path / "nowhere.png", "--metrics", "psnr", "--out", tmp_path / "r")
    assert result.status == 2
    assert "nowhere.png does not exist" in result.err


def test_lpips_is_dropped_with_one_line_where_its_weights_are_not_to_be_had(
    cli: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(net: str) -> None:
        raise MissingWeightsError(f"the weights of LPIPS-{net} are not to be had")

    monkeypatch.setattr(registry, "Lpips", refuse)
    result = cli(
        "compare",
        photos / "a.png",
        "--bytes",
        "20",
        "--against",
        "",
        "--metrics",
        "psnr,lpips",
        "--out",
        tmp_path,
        *ONE_CORE,
    )
    assert result.status == 0
    assert "LPIPS-Alex is left out: the weights of LPIPS-alex are not to be had" in result.err
    assert "PSNR" in result.out.decode()


def test_output_folder_that_is_a_file_is_refused_before_the_work(cli: Any, photos: Path) -> None:
    for out in (photos / "a.png", photos / "a.png" / "below"):
        result = cli("compare", photos, "--metrics", "psnr", "--out", out)
        assert result.status == 2
        assert "a.png is a file; name a folder" in result.err
        assert result.out == b""


def test_standard_input_is_not_read(cli: Any, tmp_path: Path) -> None:
    result = cli("compare", "-", "--metrics", "psnr", "--out", tmp_path / "r")
    assert result.status == 2
    assert "- (standard input) is not read here" in result.err


def test_photos_of_one_name_in_two_folders_have_their_own_scores(
    cli: Any, photos: Path, tmp_path: Path
) -> None:
    for folder, name in (("1", "a.png"), ("2", "b.png")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes((photos / name).read_bytes())
    words = ("--bytes", "16", "--against", "", "--metrics", "psnr", "--batch-size", 1, *ONE_CORE)
    cli("compare", tmp_path / "1", tmp_path / "2", *words, "--out", tmp_path / "twins")
    cli("compare", photos / "a.png", photos / "b.png", *words, "--out", tmp_path / "apart")
    twins, apart = (
        [row["score"] for row in csv.DictReader((tmp_path / name / "results.csv").open())]
        for name in ("twins", "apart")
    )
    assert twins == apart
    assert twins[0] != twins[1]


def test_against_is_words_by_commas_and_whole_commands() -> None:
    from onedpiece.cli.compare import specs

    command = "mine=enc -o a,b {in} {out}"
    assert specs(["jpeg, webp", command, "a.json"]) == ["jpeg", "webp", command, "a.json"]


def test_a_curve_of_others_is_in_the_table_and_the_plot(cli: Any, photos: Path, tmp_path: Path) -> None:
    curve = tmp_path / "theirs.json"
    curve.write_text('{"name": "theirs", "results": {"bpp": [0.001, 0.003], "psnr-rgb": [10.0, 12.25]}}')
    words = ["--against", "webp", "--against", str(curve), "--bytes", "20,30", "--metrics", "psnr"]
    result = cli("compare", photos / "a.png", *words, "--out", tmp_path / "out")
    assert result.status == 0
    assert "theirs (published)" in result.out.decode()
    assert "12.25" in result.out.decode()
    assert (tmp_path / "out" / "curves" / "theirs.json").is_file()
    assert cli("compare", photos / "a.png", "--against", "{in}", "--out", tmp_path / "b").status == 2
