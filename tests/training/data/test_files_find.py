"""Training finds the pictures that the codec finds, and no others."""

import io
import logging
import tarfile
from pathlib import Path

import pytest

from onedpiece.training.data.files import folder_members, tar_members


def test_hidden_and_broken_entries_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.png", "b.jfif", "sub/c.avif", "._a.png", ".git/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "folder.png").mkdir()
    with caplog.at_level(logging.WARNING):
        members = folder_members(tmp_path)
    assert [member.key for member in members] == ["a.png", "b.jfif", "sub/c.avif"]
    assert f"{tmp_path}/gone.png: left out: a broken link or no file" in caplog.text


@pytest.mark.parametrize("name", ["nowhere", "file.png"])
def test_what_is_no_folder_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.png").touch()
    with pytest.raises(FileNotFoundError, match=rf"there is no folder .*{name}; set data\.init_args\.path"):
        folder_members(tmp_path / name)


def test_tars_of_a_mac_are_read_too(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("0.png", "._0.png", "x/1.JFIF", "x/._1.JFIF", "2.json"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert [member.key for member in tar_members(tmp_path)] == ["0", "x/1"]
