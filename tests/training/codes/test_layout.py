"""What folders of photos have in common: names of splits, held-out shares, labels beside photos."""

from pathlib import Path

import pytest
from PIL import Image

from onedpiece.training.codes.layout import beside, few, held_out_of, holds_picture, split_of, stored
from onedpiece.training.data.files import is_held_out


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("train2017", "train"),
        ("val", "val"),
        ("valid", "val"),
        ("validation", "val"),
        ("test", "test"),
        ("testing", "test"),
        ("trains", None),
        ("toy_train", None),
        ("images", None),
    ],
)
def test_folders_that_name_a_split(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_a_tenth_is_held_out_by_hash() -> None:
    keys = [f"{i}.jpg" for i in range(1000)]
    held_out = held_out_of(keys)
    assert set(held_out) == {key for key in keys if is_held_out(key, 0.1)}
    assert 70 < len(held_out) < 130
    assert set(held_out_of(keys[:500])) == set(held_out) & set(keys[:500])  # more photos move none


def test_at_least_one_of_two_is_held_out_and_never_all() -> None:
    assert [len(held_out_of([f"{i}.jpg" for i in range(count)])) for count in (1, 2, 3)] == [0, 1, 1]
    low = [f"{i}.jpg" for i in range(99) if is_held_out(f"{i}.jpg", 0.1)]
    assert len(held_out_of(low)) == len(low) - 1


@pytest.mark.parametrize(
    ("photo", "label"),
    [
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("train/images/a.jpg", "train/labels/a.txt"),
        ("images/a.jpg", "labels/a.txt"),
        ("a.jpg", "labels/a.txt"),
        ("train/a.jpg", "labels/train/a.txt"),
        ("deep/a.jpg", "deep/a.txt"),
    ],
)
def test_where_labels_lie(photo: str, label: str) -> None:
    root = Path("/data")
    assert root / label in list(beside(root / photo, root, ("labels",), ".txt"))


def test_a_header_says_what_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", exif=exif)
    found = stored(tmp_path / "a.jpg")
    assert found is not None
    assert (found.size, found.orientation, found.upright) == ((8, 6), 6, (6, 8))
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    assert stored(tmp_path / "b.jpg") is None


def test_few_names_of_many() -> None:
    assert few(["a", "b"]) == "a, b"
    assert few(range(10)) == "0, 1, 2 and 7 more"


def test_the_first_picture_is_enough(tmp_path: Path) -> None:
    assert not holds_picture(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "notes.txt").write_text("")
    assert not holds_picture(tmp_path)
    (tmp_path / "deep" / "a.JPG").write_bytes(b"")
    assert holds_picture(tmp_path)
