import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onedpiece.cli.io import OutputError, reading, write


def test_a_file_has_the_usual_permissions(tmp_path: Path) -> None:
    write(str(tmp_path / "a"), b"new")
    (tmp_path / "b").write_bytes(b"by hand")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("interruption", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def interrupted(self: Path, target: Path) -> Path:
        raise interruption

    monkeypatch.setattr(Path, "replace", interrupted)
    expected = OutputError if isinstance(interruption, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write(str(tmp_path / "a"), b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*/none/a: No such file or directory"):
        write(str(tmp_path / "none" / "a"), b"new")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write(str(tmp_path / "link"), b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_pipe_is_read_whole_where_somebody_seeks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as aside:
        aside.submit((tmp_path / "pipe").write_bytes, b"0123")
        with reading(str(tmp_path / "pipe"), seekable=True) as file:
            assert file.seek(2) == 2
            assert file.read() == b"23"


def test_a_terminal_gets_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    terminal = io.TextIOWrapper(shown)
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout", terminal)
    with pytest.raises(ValueError, match="standard output is a terminal; name a file with -o"):
        write("-", b"\xd1\x1d")
    assert shown.getvalue() == b""


def test_a_device_is_written_to_not_replaced() -> None:
    write("/dev/null", b"gone")
    assert not Path("/dev/null").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_a_failure() -> None:
    with pytest.raises(OutputError, match="cannot write /dev/full: No space left on device"):
        write("/dev/full", b"x")


def test_a_long_name_can_be_written(tmp_path: Path) -> None:
    name = "n" * 251 + ".odp"  # 255 bytes: what most file systems allow, and nothing left for a longer one
    write(str(tmp_path / name), b"new")
    assert [path.name for path in tmp_path.iterdir()] == [name]
