import os
import threading
from pathlib import Path

import pytest

from onedpiece._files import atomic_path, atomic_write, atomic_write_bytes, atomic_write_text, one_line


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with atomic_write(target) as file:
        file.write(b"half")
        file.flush()
        assert not target.exists()
        file.write(b" and half")
    assert target.read_bytes() == b"half and half"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_an_error_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(TypeError), atomic_write(target) as file:
        file.writelines([b"new", "no bytes"])  # type: ignore[list-item]
    assert target.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_not_there_is_named_as_it_was_given(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        atomic_write_bytes(tmp_path / "nowhere" / "a.odp", b"")
    assert caught.value.filename == str(tmp_path / "nowhere" / "a.odp")


def test_a_file_that_is_never_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


def test_text_is_utf_8_with_its_own_line_ends(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "a.txt", "é\r\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\r\n"


def test_the_file_behind_a_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    atomic_write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_named_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    seen: list[bytes] = []
    reader = threading.Thread(target=lambda: seen.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    atomic_write_bytes(tmp_path / "pipe", b"through")
    reader.join(5)
    assert seen == [b"through"]


@pytest.mark.parametrize(
    ("error", "named", "line"),
    [
        (ValueError("two\n  lines"), False, "two lines"),
        (ValueError("two\n  lines"), True, "ValueError: two lines"),
        (KeyboardInterrupt(), True, "KeyboardInterrupt"),
        (ValueError("x" * 400), False, "x" * 300),
    ],
)
def test_one_line(error: BaseException, named: bool, line: str) -> None:
    assert one_line(error, named=named) == line
