"""Labelled photos: Imagenette, CamVid and Penn-Fudan.

Ten classes of ImageNet, road scenes with a class for each pixel, and pedestrians with boxes.
"""

import json
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from onedpiece.codec.images import read_picture
from onedpiece.training.codes.base import TEST, TRAIN, VAL, BoxTarget, Example, Labelled, Source
from onedpiece.training.data.files import Member, folder_members, is_held_out, read, tar_members
from onedpiece.training.data.modules import read_labels

CLASSES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
"""By WordNet id, in the order of the class numbers."""


VOID = 11
"""In masks: pixels that count for nothing."""


class Imagenette(Source):
    """The labelled rows of a training index, and a folder of test photos for each WordNet id.

    Args:
        path: the training tars' folder.
        index: labels their keys (see `read_labels`).
        test_path: the test folders.
    """

    task = "classify"
    name = "imagenette"
    classes = tuple(CLASSES.values())

    def __init__(
        self,
        path: str,
        index: str,
        test_path: str,
    ) -> None:
        self.path, self.index, self.test_path = path, index, test_path

    def examples(self) -> list[Example]:
        """List the photos.

        Raises:
            OSError: the files are not there.
            ValueError: the index labels nothing, or there is a class that Imagenette does not have.
        """
        labels = read_labels(self.index)
        train = [(member, labels[member.key]) for member in tar_members(self.path) if member.key in labels]
        test = [(member, Path(member.key).parts[0]) for member in folder_members(self.test_path)]
        return [
            Example(member.key, split, partial(_load_class, member, _number(label, member)))
            for split, members in ((TRAIN, train), (TEST, test))
            for member, label in members
        ]


def _number(label: str, member: Member) -> int:
    if label not in CLASSES:
        raise ValueError(f"{member.key} has label {label!r}; Imagenette has {', '.join(CLASSES)}")
    return list(CLASSES).index(label)


def _load_class(member: Member, number: int) -> Labelled:
    return Labelled(read_picture(BytesIO(read(member))), torch.tensor(number))


class CamVid(Source):
    """The folders train, val and test of photos, each beside a PNG of class numbers.

    Args:
        path: the folder that holds them.
    """

    task = "segment"
    name = "camvid"
    classes = (
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    )

    def __init__(self, path: str) -> None:
        self.path = path

    def examples(self) -> list[Example]:
        """List the photos.

        Raises:
            FileNotFoundError: there is none, or one has no mask.
        """
        found = [
            Example(f"{split}/{photo.stem}", split, partial(_load_mask, photo))
            for split in (TRAIN, VAL, TEST)
            for photo in sorted((Path(self.path) / split).glob("*.webp"))
        ]
        if not found:
            raise FileNotFoundError(f"no photo at {self.path}/train/*.webp; set source.init_args.path")
        return found


def _load_mask(photo: Path) -> Labelled:
    mask = np.asarray(Image.open(photo.with_suffix(".png")))
    return Labelled(read_picture(photo), torch.tensor(mask, dtype=torch.uint8))


class PennFudan(Source):
    """Photos and one JSON of their boxes.

    The set has no split of its own: about `test_share` of the photos, those with the lowest hashes of their
    names, are for tests, so that which ones never changes.

    Args:
        path: the folder of photos and of `boxes_xyxy.json`.
        test_share: in (0, 1).
    """

    task = "detect"
    name = "pennfudan"
    classes = ("pedestrian",)

    def __init__(self, path: str, test_share: float = 0.25) -> None:
        self.path, self.test_share = path, test_share

    def examples(self) -> list[Example]:
        """List the photos.

        Raises:
            OSError: the boxes are not there.
        """
        folder = Path(self.path)
        boxes = json.loads((folder / "boxes_xyxy.json").read_text(encoding="utf-8"))
        return [
            Example(
                Path(name).stem,
                TEST if is_held_out(Path(name).stem, self.test_share) else TRAIN,
                partial(_load_boxes, folder / name, boxes[name]),
            )
            for name in sorted(boxes)
        ]


def _load_boxes(photo: Path, rows: Sequence[Sequence[float]]) -> Labelled:
    image = read_picture(photo)
    boxes = torch.tensor(rows).reshape(-1, 4) / torch.tensor([image.width, image.height] * 2)
    return Labelled(image, BoxTarget(boxes.clamp(0, 1), torch.zeros(len(rows), dtype=torch.int64)))
