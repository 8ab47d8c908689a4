"""Whose format a folder is in, and where its tokens go."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from onedpiece.codes import ROWS
from onedpiece.errors import DatasetError
from onedpiece.training.codes import ClassFolders, Coco, MaskFolder, Yolo, own_photos
from onedpiece.training.codes.own import default_cache, is_tokens, task_of

Put = Callable[..., Path]
COCO = json.dumps({"info": {}, "images": [], "annotations": [], "categories": []})


@pytest.mark.parametrize(
    ("names", "source", "task"),
    [
        (["cat/1.jpg", "dog/2.jpg"], ClassFolders, "classify"),
        (["train/cat/1.jpg", "val/cat/2.jpg"], ClassFolders, "classify"),
        (["images/1.jpg", "labels/1.txt"], Yolo, "detect"),
        (["train/images/1.jpg", "train/labels/1.txt"], Yolo, "detect"),
        (["1.jpg", "1.txt", "classes.txt"], Yolo, "detect"),
        (["images/1.jpg", "annotations/instances_train.json"], Coco, "detect"),
        (["train/1.jpg", "train/_annotations.coco.json"], Coco, "detect"),
        (["images/1.jpg", "masks/1.png"], MaskFolder, "segment"),
        (["train/images/1.jpg", "train/masks/1.png"], MaskFolder, "segment"),
        (["1.jpg", "1.png"], MaskFolder, "segment"),
    ],
)
def test_what_lies_there_says_the_format(
    put: Put, tmp_path: Path, names: list[str], source: type, task: str
) -> None:
    for name in names:
        content = Image.new("L", (8, 6)) if name.endswith(".png") else ""
        put(name, COCO if name.endswith(".json") else content)
    assert type(own_photos(str(tmp_path))) is source
    assert task_of(str(tmp_path)) == task


def test_photos_of_the_same_name_are_no_masks(put: Put, tmp_path: Path) -> None:
    for name in ("cat/1.jpg", "cat/1.png", "dog/1.jpg", "masks/1.png", "no_masks/1.png"):
        put(name)
    assert type(own_photos(str(tmp_path))) is ClassFolders


def test_a_file_that_describes_the_photos(put: Put) -> None:
    assert type(own_photos(str(put("a.json", COCO)))) is Coco
    assert type(own_photos(str(put("data.yaml", "names: [cat]")))) is Yolo
    with pytest.raises(DatasetError, match=r"a\.csv is a file; set data\.path to a folder, a COCO \.json"):
        own_photos(str(put("a.csv")))


def test_what_is_none_of_them_is_named(put: Put, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no .*nowhere; set data\.path to a folder"):
        own_photos(str(tmp_path / "nowhere"))
    with pytest.raises(
        DatasetError, match="holds nothing; understood are: a folder of photos per class; YOLO"
    ):
        own_photos(str(tmp_path))
    for name in ("1.jpg", "2.jpg", "labels.csv", "docs/readme.md"):
        put(name)
    with pytest.raises(
        DatasetError, match=r"holds 1 folders without photos \(docs\), 2 files of \.jpg, 1 files"
    ):
        own_photos(str(tmp_path))


def test_tokens_are_no_photos(put: Put, tmp_path: Path) -> None:
    put("photos/cat/1.jpg")
    assert not is_tokens(tmp_path / "photos")
    assert is_tokens(put("tokens/00000.parquet").parent)
    assert is_tokens(put(f"beside/{ROWS}/00000.parquet").parent.parent)
    assert is_tokens(put("codes.parquet"))


def test_other_photos_have_other_tokens(put: Put, tmp_path: Path) -> None:
    """The name of the cache follows from all that its content follows from."""

    def place(space: bytes = b"abcd", variants: tuple[str, ...] = ("plain",)) -> str:
        return default_cache(own_photos(str(tmp_path / "my pets!")), space, variants).as_posix()

    photo = put("my pets!/images/1.jpg")
    label = put("my pets!/labels/1.txt", "0 .5 .5 .1 .1")
    first = place()
    assert first == place()
    assert first.startswith("runs/codes/my_pets_-")
    places = {first, place(b"othr"), place(variants=("plain", "flip"))}
    label.write_text("0 .5 .5 .25 .1")
    places.add(place())
    Image.new("RGB", (9, 9)).save(photo)
    places.add(place())
    put("my pets!/images/2.jpg")
    places.add(place())
    put("my pets!/classes.txt", "cat")
    places.add(place())
    assert len(places) == 7


@pytest.mark.parametrize(
    ("before", "after"),
    [("cat/1.jpg", "dog/1.jpg"), ("cat", "cow"), ("train/cat/1.jpg", "val/cat/1.jpg")],
)
def test_photos_that_move_have_other_tokens(put: Put, tmp_path: Path, before: str, after: str) -> None:
    """A label is put right by a move, which changes neither size nor time of the file."""
    above = "pets/train" if before.startswith("train") else "pets"
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/3.jpg"):
        put(f"{above}/{name}")
    first = default_cache(own_photos(str(tmp_path / "pets")), b"abcd", ("plain",))
    (tmp_path / "pets" / after).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "pets" / before).rename(tmp_path / "pets" / after)
    assert default_cache(own_photos(str(tmp_path / "pets")), b"abcd", ("plain",)) != first
