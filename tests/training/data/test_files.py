import io
import tarfile
from pathlib import Path

import pytest

from onedpiece.training.data.files import folder_members, read, tar_members


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_tar_members_are_read_in_place(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "a.tar", {"0.webp": b"first", "0.json": b"{}", "1.PNG": b"second", "x/2.jpg": b""}
    )
    members = tar_members(path)
    assert [member.key for member in members] == ["0", "1", "x/2"]
    assert [read(member) for member in members] == [b"first", b"second", b""]


def test_shards_come_in_order(tmp_path: Path) -> None:
    write_tar(tmp_path / "s-1.tar", {"b.webp": b"b"})
    write_tar(tmp_path / "s-0.tar", {"a.webp": b"a"})
    (tmp_path / "notes.txt").write_text("no shard")
    assert [member.key for member in tar_members(tmp_path)] == ["a", "b"]


def test_folder_is_walked_and_sorted(tmp_path: Path) -> None:
    for name in ("b.png", "a/c.JPG", "readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    members = folder_members(tmp_path)
    assert [member.key for member in members] == ["a/c.JPG", "b.png"]
    assert read(members[0]) == b"a/c.JPG"
    assert [member.key for member in folder_members(tmp_path, ("b*",))] == ["b.png"]


def test_nothing_there_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data\.init_args\.path"):
        tar_members(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data\.init_args\.path"):
        folder_members(tmp_path)
