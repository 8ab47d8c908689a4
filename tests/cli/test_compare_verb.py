"""`onedpiece compare` as a person types it."""

import json
from pathlib import Path
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
