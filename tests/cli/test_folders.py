"""Folders, names and streams: nothing is left out, replaced or printed without a word."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from shutil import copy
from typing import Any

import pytest

from onedpiece.cli.io import CODES, Job, plan
from onedpiece.codec.find import ENDINGS

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "tests" / "data" / "golden" / "model"


@pytest.fixture
def nested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a.jpg beside a.png, and b.jpg in a folder and in one below that."""
    for name in ("d/a.jpg", "d/a.png", "d/deep/b.jpg", "d/deep/er/b.jpg", "d/.hidden/c.jpg", "e/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def targets(jobs: list[Job]) -> list[str]:
    return sorted(job.target for job in jobs)


def test_recursion_keeps_the_folders(nested: Path) -> None:
    jobs = plan(["d"], "out", ".odp", ENDINGS, recursive=True)
    assert targets(jobs) == ["out/a.jpg.odp", "out/a.png.odp", "out/deep/b.odp", "out/deep/er/b.odp"]
    assert (nested / "out" / "deep" / "er").is_dir()
    beside = targets(plan(["d"], None, ".odp", ENDINGS, recursive=True))
    assert beside == ["d/a.jpg.odp", "d/a.png.odp", "d/deep/b.odp", "d/deep/er/b.odp"]


def test_one_at_a_time_names_are_those_of_the_folder(nested: Path) -> None:
    """a.png is never written over a.jpg's file, in whatever order they come."""
    assert plan(["d/a.jpg"], None, ".odp", ENDINGS) == [Job("d/a.jpg", "d/a.jpg.odp")]
    assert plan(["d/a.png"], "e", ".odp", ENDINGS) == [Job("d/a.png", "e/a.png.odp")]


@pytest.mark.parametrize("name", ["photo.2024", "v1.2", "photo"])
def test_an_ending_that_is_none_stays(nested: Path, name: str) -> None:
    (nested / name).touch()
    assert plan([name], None, ".odp", ENDINGS) == [Job(name, f"{name}.odp")]


def test_links_are_files_of_their_own(nested: Path) -> None:
    (nested / "e" / "link.png").symlink_to("a.jpg")
    assert targets(plan(["e"], None, ".odp", ENDINGS)) == ["e/a.odp", "e/link.odp"]
    (nested / "e" / "loop").symlink_to("..")
    assert targets(plan(["e"], None, ".odp", ENDINGS, recursive=True)) == ["e/a.odp", "e/link.odp"]


def test_what_is_older_than_its_input_is_not_done(nested: Path) -> None:
    (nested / "e" / "a.odp").touch()
    assert plan(["e"], None, ".odp", ENDINGS, skip_existing=True) == []
    later = time.time() + 10
    os.utime(nested / "e" / "a.jpg", (later, later))
    assert targets(plan(["e"], None, ".odp", ENDINGS, skip_existing=True)) == ["e/a.odp"]


def test_another_inputs_file_is_not_replaced_silently(
    nested: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (nested / "out").mkdir()
    (nested / "out" / "a.odp").touch()
    plan(["e/a.jpg"], "out", ".odp", ENDINGS)
    assert capsys.readouterr().err == "onedpiece: out/a.odp: replaces the file that is there\n"
    for name in "bc":
        (nested / "e" / f"{name}.jpg").touch()
        (nested / "out" / f"{name}.odp").touch()
    plan(["e/a.jpg", "e/b.jpg", "e/c.jpg"], "out", ".odp", ENDINGS)
    said = capsys.readouterr().err
    assert said == "onedpiece: out/a.odp: replaces the file that is there, as do 2 more\n"


def test_a_folder_of_folders_names_the_option(nested: Path) -> None:
    (nested / "only" / "below").mkdir(parents=True)
    with pytest.raises(ValueError, match="--recursive looks below it"):
        plan(["only"], None, ".png", CODES)


@pytest.mark.parametrize("verb", ["encode", "decode", "info", "predict", "compare"])
def test_every_verb_knows_recursion(cli: Any, verb: str) -> None:
    assert b"--recursive" in cli(verb, "--help").out


def test_compare_looks_where_it_is_told(cli: Any, photos: Path, tmp_path: Path) -> None:
    (photos / "below").mkdir()
    (photos / "a.png").rename(photos / "below" / "a.png")
    (photos / "gone.png").symlink_to("nowhere")
    words = ["--against", "", "--metrics", "psnr", "--bytes", 96, "--json"]
    result = cli("compare", photos, *words, "--out", tmp_path / "one")
    assert result.status == 0
    assert f"{photos}/gone.png: left out: a broken link" in result.err
    rows = (tmp_path / "one" / "results.csv").read_text()
    assert "b.png" in rows
    assert "below/a.png" not in rows
    cli("compare", photos, "--recursive", *words, "--out", tmp_path / "two")
    assert "below/a.png" in (tmp_path / "two" / "results.csv").read_text()


@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[31mb.png", "a\rb.png", "a\x07b.png", "a\x9bb.png"])
@pytest.mark.parametrize("readable", [True, False])
def test_control_characters_are_escaped(
    cli: Any, tmp_path: Path, data: Path, name: str, readable: bool
) -> None:
    if readable:
        copy(data / "chelsea_451x300.png", tmp_path / name)
    else:
        (tmp_path / name).write_text("no picture")
    for words in (
        ["encode", tmp_path / name],
        ["encode", tmp_path / name, "--tokens", 0],
        ["info", tmp_path / name],
        ["predict", tmp_path / name, "--tokens", 4],
        ["decode", tmp_path / f"{name}.none"],
        ["compare", tmp_path / f"{name}.none", "--metrics", "psnr"],
    ):
        result = cli(*words)
        text = result.out.decode() + result.err
        assert not set(text) & set("\x1b\r\x07\x9b"), words
        assert text.count("\n") == 1, words


def test_a_warning_names_its_file(cli: Any, tmp_path: Path, data: Path) -> None:
    from PIL import Image

    with Image.open(data / "chelsea_451x300.png") as photo:
        photo.save(tmp_path / "cut.jpg")
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[:-2])
    result = cli("encode", tmp_path / "cut.jpg")
    assert result.status == 0
    assert result.err == f"onedpiece: {tmp_path}/cut.jpg: the file ends early; some pixels may be missing\n"


GOLDEN = ["--model", str(MODEL)]
LIGHT = [
    ["info", "a.odp", *GOLDEN],
    ["info", "none.odp"],
    ["models"],
    ["--help"],
    ["--version"],
    ["nonsense"],
]
CLOSED = [
    *((words, ">&-") for words in LIGHT),
    *((words, "<&- >&- 2>&-") for words in LIGHT),
    (["encode", "a.png", "-o", "-", *GOLDEN], ">&-"),
    (["encode", "-", "-o", "x.odp", *GOLDEN], "<&-"),
    (["encode", "a.png", "--tokens", "4", *GOLDEN], ">&- 2>&-"),
    (["decode", "a.odp", "-o", "x.png", *GOLDEN], "<&- >&- 2>&-"),
]


@pytest.mark.parametrize(("words", "closed"), CLOSED, ids=lambda value: str(value[0]) + value[-1])
@pytest.mark.slow
def test_a_closed_stream_is_at_most_one_line(
    tmp_path: Path, data: Path, words: list[str], closed: str
) -> None:
    copy(data / "chelsea_451x300.png", tmp_path / "a.png")
    copy(data / "golden" / "own-size.odp", tmp_path / "a.odp")
    line = " ".join([sys.executable, "-m", "onedpiece", *words, closed])
    done = subprocess.run(
        line,
        shell=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr
    assert done.stderr.count("\n") <= (1 if words != ["nonsense"] else 3)
    assert done.returncode in (0, 1, 2)


@pytest.mark.parametrize(("end", "length"), [(b"\n", 1), (b"\r\n", 2), (b"", None)])
def test_info_points_out_what_a_copy_in_text_mode_appends(
    cli: Any, tmp_path: Path, data: Path, end: bytes, length: int | None
) -> None:
    code = (data / "golden" / "codebook-262144.odp").read_bytes().rstrip(b"\n")
    (tmp_path / "a.odp").write_bytes(code + end)
    record = json.loads(cli("info", tmp_path / "a.odp", "--json").out)
    assert record.get("line_end") == length
    assert (b"ends as a line of text" in cli("info", tmp_path / "a.odp").out) == bool(end)
