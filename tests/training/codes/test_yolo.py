"""YOLO's folders as people have them, and every line that cannot be meant."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from onedpiece.errors import DatasetError
from onedpiece.training.codes import BoxTarget, Yolo
from onedpiece.training.codes.yolo import read_labels

Put = Callable[..., Path]
BoxesOf = Callable[[Yolo, str], BoxTarget]


@pytest.fixture
def ultralytics(put: Put, tmp_path: Path) -> Path:
    """Their layout: names in data.yaml, splits below images and labels; b is background, ghost no photo."""
    for name in ("train/a", "train/b", "train/c", "val/d"):
        put(f"images/{name}.jpg", size=(80, 40))
    put("labels/train/a.txt", "1 0.5 0.25 0.2 0.5\n\n0 0.9 0.5 0.4 0.2\n")
    put("labels/train/c.txt", "")
    put("labels/val/d.txt", "0 0.5 0.5 1 1")
    put("labels/train/ghost.txt", "0 0.5 0.5 1 1")
    names = "names: {0: cat, 1: dog}"
    put("data.yaml", f"path: ../datasets/pets\ntrain: images/train\nval: images/val\ntest:\n{names}\n")
    return tmp_path


def test_boxes_by_hand(ultralytics: Path, boxes_of: BoxesOf) -> None:
    source = Yolo(str(ultralytics))
    assert (source.task, source.classes) == ("detect", ("cat", "dog"))
    target = boxes_of(source, "images/train/a.jpg")
    assert target.labels.tolist() == [1, 0]
    # cx ± w/2 and cy ± h/2; the second would end at 0.9 + 0.2 = 1.1
    torch.testing.assert_close(target.boxes, torch.tensor([[0.4, 0.0, 0.6, 0.5], [0.7, 0.4, 1.0, 0.6]]))


def test_photos_without_objects_are_background(ultralytics: Path, boxes_of: BoxesOf) -> None:
    source = Yolo(str(ultralytics))
    for key in ("images/train/b.jpg", "images/train/c.jpg"):
        assert len(boxes_of(source, key).labels) == 0


def test_splits_of_the_yaml(ultralytics: Path) -> None:
    assert [(each.key, each.split) for each in Yolo(str(ultralytics)).examples()] == [
        ("images/train/a.jpg", "train"),
        ("images/train/b.jpg", "train"),
        ("images/train/c.jpg", "train"),
        ("images/val/d.jpg", "val"),
    ]
    assert Yolo(str(ultralytics / "data.yaml")).splits == {"train", "val"}  # the file itself will do


def test_val_that_is_train_holds_out_some(
    ultralytics: Path, put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    put("data.yaml", "train: images/train\nval: images/train\nnames: [cat, dog]\n")  # as in coco128
    examples = Yolo(str(ultralytics)).examples()
    assert sorted(each.split for each in examples) == ["train", "train", "val"]
    assert "val holds photos of train" in caplog.text


def test_lists_of_photos(ultralytics: Path, put: Put, caplog: pytest.LogCaptureFixture) -> None:
    put("train.txt", "./images/train/a.jpg\nimages/train/c.jpg\nimages/train/gone.jpg\n")
    put("data.yaml", "train: train.txt\nval: [images/val]\nnames: [cat, dog]\n")
    keys = [each.key for each in Yolo(str(ultralytics)).examples()]
    assert keys == ["images/train/a.jpg", "images/train/c.jpg", "images/val/d.jpg"]
    assert "1 photos are not there" in caplog.text


def test_roboflow_names_folders_that_lie_elsewhere(put: Put, tmp_path: Path, boxes_of: BoxesOf) -> None:
    put("train/images/a.jpg")
    put("train/labels/a.txt", "0 0.5 0.5 0.5 0.5")
    put("valid/images/b.jpg")
    put("data.yaml", "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: ['car']\n")
    source = Yolo(str(tmp_path))
    assert [(each.key, each.split) for each in source.examples()] == [
        ("train/images/a.jpg", "train"),
        ("valid/images/b.jpg", "val"),
    ]
    assert boxes_of(source, "train/images/a.jpg").boxes.tolist() == [[0.25, 0.25, 0.75, 0.75]]


def test_texts_beside_photos_and_classes_txt(put: Put, tmp_path: Path, boxes_of: BoxesOf) -> None:
    put("a.jpg")
    put("a.txt", "2 0.5 0.5 0.5 0.5")
    put("b.jpg")
    put("classes.txt", "ape\nbee\ncow\n")
    source = Yolo(str(tmp_path))
    assert source.classes == ("ape", "bee", "cow")
    assert boxes_of(source, "a.jpg").labels.tolist() == [2]
    assert sorted(each.split for each in source.examples()) == ["train", "val"]


def test_without_names_numbers_are_names(put: Put, tmp_path: Path) -> None:
    put("images/a.jpg")
    put("labels/a.txt", "2 0.5 0.5 0.5 0.5")
    assert Yolo(str(tmp_path)).classes == ("0", "1", "2")


def test_outlines_become_boxes_and_lines_count_once(put: Put) -> None:
    path = put("a.txt", "0 0.1 0.2 0.5 0.1 0.3 0.6\n1 .5 .5 .2 .2\n1 .5 .5 .2 .2\n")
    outline, box = read_labels(path)
    assert (outline.label, outline.box) == (0, (0.1, 0.1, 0.5, 0.6))
    assert box.box == pytest.approx((0.4, 0.4, 0.6, 0.6))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", r"a\.txt, line 2 has 4 values; an object is: class cx cy w h"),
        ("0 0.5 0.5 0.1 0.1 0.9", r"line 2 has 6 values"),
        ("cat 0.5 0.5 0.1 0.1", r"line 2 is 'cat 0\.5 0\.5 0\.1 0\.1'; an object is"),
        ("-1 0.5 0.5 0.1 0.1", "line 2 has class -1; classes are whole numbers"),
        ("1.5 0.5 0.5 0.1 0.1", r"line 2 has class 1\.5"),
        ("0 320 240 64 48", "line 2 has 320; places are shares of the photo, from 0 to 1"),
        ("0 nan 0.5 0.1 0.1", "line 2 has nan"),
        ("0 0.5 0.5 -0.1 0.1", "line 2 has a negative width or height"),
    ],
)
def test_malformed_lines_are_named(put: Put, line: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_labels(put("a.txt", f"0 0.5 0.5 0.1 0.1\n{line}\n"))


def test_what_is_wrong_with_the_whole(ultralytics: Path, put: Put) -> None:
    label = put("labels/train/c.txt", "7 0.5 0.5 0.1 0.1")
    with pytest.raises(DatasetError, match=r"c\.txt names class 7, and there are 2, from 0 on: cat, dog"):
        Yolo(str(ultralytics)).examples()
    label.unlink()
    put("data.yaml", "train: images/nowhere\nnames: [cat]\n")
    with pytest.raises(DatasetError, match=r"data\.yaml: train is images/nowhere, and nothing is there"):
        Yolo(str(ultralytics)).examples()
    put("data.yaml", "names: [cat\n")
    with pytest.raises(DatasetError, match=r"data\.yaml is no YAML"):
        Yolo(str(ultralytics)).examples()
    put("data.yaml", "just a text")
    with pytest.raises(DatasetError, match="describes no data set"):
        Yolo(str(ultralytics)).examples()


def test_no_object_at_all(put: Put, tmp_path: Path) -> None:
    put("images/a.jpg")
    put("labels/b.txt", "0 0.5 0.5 0.1 0.1")
    with pytest.raises(DatasetError, match="has 1 photos and no object; look at labels/"):
        Yolo(str(tmp_path)).examples()
