"""COCO's json: boxes by hand, crowds, categories, photos that are not there, and photos on their side."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from onedpiece.errors import DatasetError
from onedpiece.training.codes import BoxTarget, Coco
from onedpiece.training.codes.coco import find_coco

Put = Callable[..., Path]
BoxesOf = Callable[[Coco, str], BoxTarget]
CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]


def content(names: dict[int, str], *annotations: dict[str, Any], **size: int) -> str:
    """A json of 80×40 photos by id, with these annotations."""
    size = size or {"width": 80, "height": 40}
    images = [{"id": number, "file_name": name, **size} for number, name in names.items()]
    numbered = [{"id": 100 + at, "iscrowd": 0, **each} for at, each in enumerate(annotations)]
    return json.dumps({"images": images, "annotations": numbered, "categories": CATEGORIES})


def box(image: int, category: int, *bbox: float, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": list(bbox), **more}


@pytest.fixture
def published(put: Put, tmp_path: Path) -> Path:
    """The layout that COCO is published in, captions among the annotations."""
    for name in ("train2017/a", "train2017/b", "val2017/c"):
        put(f"{name}.jpg", size=(80, 40))
    put(
        "annotations/instances_train2017.json",
        content(
            {1: "a.jpg", 2: "b.jpg", 9: "gone.jpg"},
            box(1, 7, 8, 4, 16, 20),
            box(1, 3, 60, 30, 40, 20),  # 20 pixels and 10 of it are outside
            box(1, 3, 0, 0, 80, 40, iscrowd=1),
            box(9, 3, 0, 0, 8, 4),
        ),
    )
    put("annotations/instances_val2017.json", content({1: "c.jpg"}, box(1, 3, 40, 0, 40, 40)))
    put("annotations/captions_train2017.json", json.dumps({"images": [], "annotations": [{"caption": "x"}]}))
    return tmp_path


def test_boxes_by_hand(published: Path, caplog: pytest.LogCaptureFixture, boxes_of: BoxesOf) -> None:
    source = Coco(str(published))
    assert (source.task, source.classes) == ("detect", ("cat", "dog"))  # by id: 3, 7
    target = boxes_of(source, "train2017/a.jpg")
    assert target.labels.tolist() == [1, 0]
    torch.testing.assert_close(target.boxes, torch.tensor([[0.1, 0.1, 0.3, 0.6], [0.75, 0.75, 1.0, 1.0]]))
    assert boxes_of(source, "val2017/c.jpg").boxes.tolist() == [[0.5, 0.0, 1.0, 1.0]]
    assert len(boxes_of(source, "train2017/b.jpg").labels) == 0  # background
    assert "1 photos are not there: gone.jpg" in caplog.text


def test_splits_are_those_of_the_names(published: Path) -> None:
    assert [(each.key, each.split) for each in Coco(str(published)).examples()] == [
        ("train2017/a.jpg", "train"),
        ("train2017/b.jpg", "train"),
        ("val2017/c.jpg", "val"),
    ]


def test_one_json_beside_the_photos(put: Put, tmp_path: Path) -> None:
    for name in "abc":
        put(f"{name}.jpg", size=(80, 40))
    path = put("labels.json", content({1: "a.jpg", 2: "b.jpg", 3: "c.jpg"}, box(1, 3, 8, 4, 16, 20)))
    for source in (Coco(str(tmp_path)), Coco(str(path))):
        examples = source.examples()
        assert sorted(each.split for each in examples) == ["train", "train", "val"]
        assert [each.key for each in examples] == ["a.jpg", "b.jpg", "c.jpg"]


def test_a_json_in_each_splits_folder(put: Put, tmp_path: Path) -> None:
    for folder in ("train", "valid"):
        put(f"{folder}/a.jpg")
        put(f"{folder}/_annotations.coco.json", content({1: "a.jpg"}, box(1, 3, 0, 0, 8, 4)))
    assert [(each.key, each.split) for each in Coco(str(tmp_path)).examples()] == [
        ("train/a.jpg", "train"),
        ("valid/a.jpg", "val"),
    ]


@pytest.mark.parametrize(("width", "height"), [(40, 80), (80, 40)])
def test_a_photo_on_its_side(put: Put, tmp_path: Path, width: int, height: int) -> None:
    """Stored are 80×40 pixels, upright it has 40×80; the json counts either."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise brings it upright
    image = Image.new("RGB", (80, 40))
    image.paste((255, 255, 255), (0, 0, 20, 10))  # at the left top; upright at the right top, 10 by 20
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    given = (0, 0, 20, 10) if (width, height) == (80, 40) else (30, 0, 10, 20)
    put("a.json", content({1: "a.jpg"}, box(1, 3, *given), width=width, height=height))
    (example,) = Coco(str(tmp_path)).examples()
    shown, target = example.load()
    assert isinstance(target, BoxTarget)
    assert shown.size == (40, 80)
    torch.testing.assert_close(target.boxes, torch.tensor([[0.75, 0.0, 1.0, 0.25]]))
    assert shown.getpixel((35, 10)) > (200, 200, 200)  # type: ignore[operator]


def test_without_a_size_it_is_the_photos(put: Put, tmp_path: Path, boxes_of: BoxesOf) -> None:
    put("a.jpg", size=(40, 20))
    put("a.json", content({1: "a.jpg"}, box(1, 3, 10, 0, 10, 10), width=0, height=0))
    assert boxes_of(Coco(str(tmp_path)), "a.jpg").boxes.tolist() == [[0.25, 0.0, 0.5, 0.5]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"a\.json is no COCO file: Expecting property name"),
        ('{"images": [], "annotations": []}', r"a\.json is no COCO file: it has no 'categories'"),
        (content({1: "a.jpg"}, box(1, 5, 0, 0, 1, 1)), "annotation 100 has category_id 5, which is no categ"),
        (content({1: "a.jpg"}, box(1, 3, 0, 0, 1)), r"annotation 100 has bbox \[0, 0, 1\]; a box is"),
        (content({1: "a.jpg"}), "has 1 photos and no object"),
        (content({1: "b.jpg"}, box(1, 3, 0, 0, 1, 1)), r"holds no photo with a label \(COCO\)"),
    ],
)
def test_malformed_files_are_named(put: Put, tmp_path: Path, text: str, message: str) -> None:
    put("a.jpg")
    put("a.json", text)
    with pytest.raises(DatasetError, match=message):
        Coco(str(tmp_path / "a.json")).examples()


def test_files_that_do_not_fit_together(put: Put, tmp_path: Path) -> None:
    put("a.jpg")
    put("one.json", content({1: "a.jpg"}, box(1, 3, 0, 0, 1, 1)))
    put("two.json", content({1: "a.jpg"}, box(1, 3, 0, 0, 1, 1)))
    with pytest.raises(
        DatasetError, match=r"one\.json and .*two\.json are of the same split, none; name one"
    ):
        Coco(str(tmp_path)).examples()
    (tmp_path / "one.json").rename(tmp_path / "train.json")
    (tmp_path / "two.json").unlink()
    put("val.json", content({1: "a.jpg"}).replace('"cat"', '"cow"'))
    with pytest.raises(DatasetError, match="have other categories; make them the same"):
        Coco(str(tmp_path)).examples()
    put("val.json", content({1: "a.jpg"}, box(1, 3, 0, 0, 1, 1)))
    with pytest.raises(DatasetError, match=r"has a\.jpg in 2 splits; take it out of all but one"):
        Coco(str(tmp_path)).examples()


def test_other_jsons_are_none(put: Put, tmp_path: Path) -> None:
    put("package.json", '{"name": "x", "images": 3}')
    put("list.json", "[1, 2]")
    assert find_coco(tmp_path) == []
