import subprocess
import sys
from pathlib import Path

import pytest

from onedpiece.codec.find import find_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.PNG", "a.jfif", "c.heic", "x.txt", "._b.png", "logo.svg", "deep/d.mpo", ".git/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "dir.png").mkdir()
    (tmp_path / "gone.png").symlink_to("nowhere")
    return tmp_path


def test_a_folder_holds_its_visible_pictures(folder: Path) -> None:
    found = find_images(folder)
    assert [path.name for path in found.paths] == ["a.jfif", "b.PNG", "c.heic"]
    assert [(path.name, reason) for path, reason in found.left_out] == [
        ("dir.png", "a folder"),
        ("gone.png", "a broken link or no file"),
        ("logo.svg", "a kind of picture that is not read"),
    ]


def test_recursion_goes_below_but_not_into_hidden_folders(folder: Path) -> None:
    names = [path.relative_to(folder).as_posix() for path in find_images(folder, recursive=True).paths]
    assert names == ["a.jfif", "b.PNG", "c.heic", "deep/d.mpo"]


def test_other_endings_say_nothing_of_pictures(folder: Path) -> None:
    found = find_images(folder, endings={".txt"})
    assert ([path.name for path in found.paths], found.left_out) == (["x.txt"], [])


def test_reading_needs_no_torch() -> None:
    code = "import sys, onedpiece.codec.images; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
