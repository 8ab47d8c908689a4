from pathlib import Path
from shutil import copy

import pytest
import torch
from PIL import Image

from onedpiece.codec.images import read_square
from onedpiece.codec.tensors import to_tensor
from onedpiece.evaluation import photos
from onedpiece.evaluation.photos import Unreadable, find_photos, read_photos


def test_folders_are_searched_and_files_taken_as_they_come(tmp_path: Path, data: Path) -> None:
    (tmp_path / "sub").mkdir()
    copy(data / "coffee.png", tmp_path / "b.PNG")
    copy(data / "coffee.png", tmp_path / "sub" / "a.png")
    (tmp_path / "notes.txt").write_text("no picture")
    found = find_photos([tmp_path, data / "rocket.png"])
    assert [name for name, _ in found.photos] == ["b.PNG", "sub/a.png", "rocket.png"]


def test_photos_of_one_name_in_two_folders_are_named_by_their_paths(tmp_path: Path, data: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        copy(data / "coffee.png", tmp_path / folder / "x.png")
    copy(data / "coffee.png", tmp_path / "two" / "y.png")
    found = find_photos([tmp_path / "one", tmp_path / "two"])
    assert [name for name, _ in found.photos] == [f"{tmp_path}/one/x.png", f"{tmp_path}/two/x.png", "y.png"]


def test_missing_path_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png does not exist"):
        find_photos([tmp_path / "nowhere.png"])
    with pytest.raises(FileNotFoundError, match=r"- \(standard input\) is not read here"):
        find_photos([Path("-")])
    with pytest.raises(FileNotFoundError, match="holds no picture"):
        find_photos([tmp_path])


def test_corrupt_photos_are_listed_by_name(tmp_path: Path, data: Path) -> None:
    copy(data / "coffee.png", tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((data / "coffee.png").read_bytes()[:2000])
    (tmp_path / "text.jpg").write_text("not a picture")
    found = read_photos([tmp_path], 64)
    assert [photo.name for photo in found.photos] == ["good.png"]
    assert sorted(u.name for u in found.unreadable) == ["cut.png", "text.jpg"]
    assert all(u.reason for u in found.unreadable)


def test_a_photo_that_the_disk_refuses_is_named_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, side: int) -> Image.Image:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(photos, "read_square", refused)
    found = read_photos([data / "coffee.png"], 64)
    assert found.unreadable == [Unreadable("coffee.png", "Input/output error")]


def test_short_side_is_resized_and_the_centre_cropped(tmp_path: Path) -> None:
    # 90×30 in thirds of red, green, blue: at 10 pixels the middle third is left.
    image = Image.new("RGB", (90, 30), "red")
    image.paste("lime", (30, 0, 60, 30))
    image.paste("blue", (60, 0, 90, 30))
    image.save(tmp_path / "wide.png")
    square = read_square(tmp_path / "wide.png", 10)
    assert square.size == (10, 10)
    assert square.getpixel((5, 5)) == (0, 255, 0)


def test_whole_photos(data: Path) -> None:
    (photo,) = read_photos([data / "chelsea_451x300.png"], None).photos
    assert photo.image.size == (451, 300)


def test_tensor_of_pictures() -> None:
    batch = to_tensor([Image.new("RGB", (4, 2), (255, 0, 51))])
    assert batch.shape == (1, 3, 2, 4)
    torch.testing.assert_close(batch[0, :, 0, 0], torch.tensor([1.0, 0.0, 0.2]))
