"""What a disk can do to a run: each case one line, the right status, and never half a file."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from shutil import copy
from typing import Any

import pytest

from onedpiece.bitstream import Code
from onedpiece.weights.checkpoint import load_tables

MODEL = Path(__file__).parents[1] / "data" / "golden" / "model"


@pytest.mark.parametrize("verb", ["decode", "info", "truncate"])
@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "the file is empty"), (b"\xd1\x1d", "inside its header"), (b"GIF89a", "not an .odp")],
)
def test_a_damaged_file_is_one_line(
    cli: Any, tmp_path: Path, verb: str, content: bytes, message: str
) -> None:
    (tmp_path / "a.odp").write_bytes(content)
    result = cli(verb, tmp_path / "a.odp", *(["--tokens", 1] if verb == "truncate" else []))
    assert (result.status, result.out) == (2, b"")
    assert result.err.startswith(f"onedpiece: {tmp_path}/a.odp: ")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.odp"]


def test_a_full_disk_is_one_line(cli: Any, photos: Path) -> None:
    result = cli("encode", photos / "a.png", "-o", "/dev/full")
    assert result == (
        1,
        b"",
        f"onedpiece: {photos}/a.png: cannot write /dev/full: No space left on device\n",
    )


def test_a_folder_that_takes_no_files_is_one_line(cli: Any, photos: Path) -> None:
    # /proc refuses new files even to root, which a read-only folder does not.
    result = cli("encode", photos / "a.png", "-o", "/proc/a.odp")
    assert (result.status, result.out) == (1, b"")
    assert result.err.startswith(f"onedpiece: {photos}/a.png: cannot write /proc/a.odp: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_line(cli: Any, photos: Path) -> None:
    photos.chmod(0o555)
    result = cli("encode", photos / "a.png")
    photos.chmod(0o755)
    assert result.status == 1
    assert result.err.endswith(f"cannot write {photos}/a.odp: Permission denied\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_an_unreadable_photo_is_one_line(cli: Any, photos: Path) -> None:
    (photos / "a.png").chmod(0)
    result = cli("encode", photos / "a.png")
    assert (result.status, result.err) == (2, f"onedpiece: {photos}/a.png: Permission denied\n")


@pytest.mark.slow
def test_killed_in_the_middle_a_rerun_finishes(cli: Any, photos: Path, tmp_path: Path) -> None:
    for number in range(20):
        copy(photos / "a.png", photos / f"c{number:02}.png")
    out = tmp_path / "out"
    words = [sys.executable, "-m", "onedpiece", "encode", photos, "-o", out, "--model", MODEL]
    run = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE)
    assert run.stdout
    run.stdout.readline()  # one photo is done, many are not
    run.send_signal(signal.SIGKILL)
    run.wait()
    done = sorted(out.glob("*.odp"))
    assert 0 < len(done) < 22
    kept = {path.name: path.stat().st_mtime_ns for path in done}
    for path in done:
        assert len(Code.from_bytes(path.read_bytes(), lambda model: load_tables(MODEL, model))) == 24
    again = subprocess.run(
        [str(word) for word in [*words, "--skip-existing"]], capture_output=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert len(list(out.glob("*.odp"))) == 22
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept
