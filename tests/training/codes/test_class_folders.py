"""A folder for each class: with splits above them, without, and what cannot be trained on."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from onedpiece.errors import DatasetError
from onedpiece.training.codes import ClassFolders

Put = Callable[..., Path]


def test_folders_are_classes_and_a_tenth_of_each_is_held_out(put: Put, tmp_path: Path) -> None:
    for name, count in (("cat", 30), ("dog", 4), ("fox", 1)):
        for i in range(count):
            put(f"{name}/{'deep/' * (i % 2)}{i}.jpg")
    put(".cache/x.jpg")
    put("empty/notes.txt")
    source = ClassFolders(str(tmp_path))
    assert (source.task, source.classes) == ("classify", ("cat", "dog", "fox"))
    examples = source.examples()
    assert [each.key for each in examples if "dog" in each.key] == [
        "dog/0.jpg",
        "dog/2.jpg",
        "dog/deep/1.jpg",
        "dog/deep/3.jpg",
    ]
    counts = Counter((Path(each.key).parts[0], each.split) for each in examples)
    assert counts["dog", "val"] == 1
    assert ("fox", "val") not in counts  # the only one is trained on
    assert 1 <= counts["cat", "val"] <= 6
    for each in examples:
        image, target = each.load()
        assert isinstance(target, torch.Tensor)
        assert int(target) == source.classes.index(Path(each.key).parts[0])
        assert image.size == (8, 6)


def test_folders_of_splits_are_followed(put: Put, tmp_path: Path) -> None:
    for name in ("train/cat/1.jpg", "train/dog/2.jpg", "valid/cat/3.jpg", "test/dog/4.jpg", "unsorted/5.jpg"):
        put(name)
    source = ClassFolders(str(tmp_path))
    assert [(each.key, each.split) for each in source.examples()] == [
        ("test/dog/4.jpg", "test"),
        ("train/cat/1.jpg", "train"),
        ("train/dog/2.jpg", "train"),
        ("valid/cat/3.jpg", "val"),
    ]
    assert source.splits == {"train", "val", "test"}


def test_train_alone_gives_a_tenth_away(put: Put, tmp_path: Path) -> None:
    for i in range(4):
        put(f"train/cat/{i}.jpg")
        put(f"train/dog/{i}.jpg")
    assert Counter(each.split for each in ClassFolders(str(tmp_path)).examples()) == {"train": 6, "val": 2}


def test_a_class_may_be_called_train(put: Put, tmp_path: Path) -> None:
    for i in range(3):
        put(f"train/{i}.jpg")
        put(f"plane/{i}.jpg")
    assert ClassFolders(str(tmp_path)).classes == ("plane", "train")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["cat/1.jpg", "cat/2.jpg"],
            "has photos in one folder, cat, and a classifier tells two classes or more apart; understood",
        ),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "val/c/3.jpg"],
            "has no photo of c to train on; add some to train",
        ),
        (["val/a/1.jpg", "val/b/2.jpg"], "has no photo of a, b to train on"),
        (["notes.txt"], r"holds no photo with a label \(a folder per class\)"),
    ],
)
def test_what_cannot_be_trained_on(put: Put, tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        put(name)
    with pytest.raises(DatasetError, match=message):
        ClassFolders(str(tmp_path)).examples()
