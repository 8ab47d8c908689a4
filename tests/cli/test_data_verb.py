"""`onedpiece data prepare`: what it says, its status, and that it loads neither torch nor lightning."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from onedpiece.cli.main import main

TRACED = """
import sys
from onedpiece.cli.main import main
status = main(sys.argv[1:])
print("loaded:", *sorted({"torch", "lightning", "webdataset"} & set(sys.modules)))
sys.exit(status)
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", (40, 32), (9, 9, 9)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def test_prepare_says_what_is_there(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["data", "prepare", str(photos), str(out), "--size", "16", "--shards", "2", "--jobs", "1"]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{out}: 2 pictures in 2 shards\n"
    assert main(words) == 0
    assert capsys.readouterr().out == f"{out}: 2 pictures in 2 shards, 2 of them from before\n"


def test_a_broken_photo_is_named_and_counted(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "c.png").write_bytes(b"no picture")
    words = ["data", "prepare", str(photos), str(tmp_path / "out"), "--size", "16", "--jobs", "1"]
    assert main([*words, "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["pictures"] == 2
    assert captured.err.startswith(f"onedpiece: left out: {photos}/c.png is no readable picture")
    assert main([*words[:-2], "--on-error", "stop", "--shards", "3"]) == 2
    assert "holds shards of other photos or options" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["out"], "name what to read, and behind it the folder to write"),
        (["nowhere", "out"], "there is no nowhere"),
        (["photos", "out", "--size", "0"], "size ≥ 1"),
        (["photos", "out", "--on-error", "never"], "--on-error is never; use skip or stop"),
    ],
)
def test_bad_input_is_said_in_one_line(
    words: list[str],
    message: str,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(photos.parent)
    assert main(["data", "prepare", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_prepare_loads_neither_torch_nor_lightning(photos: Path, tmp_path: Path) -> None:
    words = ["data", "prepare", str(photos), str(tmp_path / "out"), "--jobs", "1"]
    done = subprocess.run(
        [sys.executable, "-c", TRACED, *words], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded:"
