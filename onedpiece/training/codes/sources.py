"""Labelled photos: Imagenette, CamVid and Penn-Fudan.

Ten classes of ImageNet, road scenes with a class for each pixel, and pedestrians with boxes.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from onedpiece.codec.images import read_picture
from onedpiece.training.codes.base import TEST, TRAIN, VAL, BoxTarget, Example, Labelled, Source
from onedpiece.training.data.files import Member, folder_members, is_held_out, read, tar_members
from onedpiece.training.data.labelled import read_labels

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
    """Imagenette as published, or the labelled rows of a training index and a folder for each WordNet id.

    Args:
        path: the published folder, with `train` and `val` in it; or with `index` the training tars' folder.
        index: labels the tars' keys (see `read_labels`); None: the published layout.
        test_path: the test folders; None: `val` below `path`.
    """

    task = "classify"
    name = "imagenette"
    classes = tuple(CLASSES.values())

    def __init__(self, path: str, index: str | None = None, test_path: str | None = None) -> None:
        self.path, self.index, self.test_path = path, index, test_path or str(Path(path) / "val")

    def examples(self) -> list[Example]:
        """List the photos.

        Raises:
            OSError: the files are not there.
            ValueError: the index labels nothing, or there is a class that Imagenette does not have.
        """
        if self.index is None:
            train = _by_folder(Path(self.path) / "train")
        else:
            labels = read_labels(self.index)
            train = [(each, labels[each.key]) for each in tar_members(self.path) if each.key in labels]
        return [
            Example(member.key, split, partial(_load_class, member, _number(label, member)))
            for split, members in ((TRAIN, train), (TEST, _by_folder(Path(self.test_path))))
            for member, label in members
        ]


def _by_folder(root: Path) -> list[tuple[Member, str]]:
    """Each picture below `root`, with the name of the folder it lies in."""
    return [(member, Path(member.key).parts[0]) for member in folder_members(root)]


def _number(label: str, member: Member) -> int:
    if label not in CLASSES:
        raise ValueError(f"{member.key} has label {label!r}; Imagenette has {', '.join(CLASSES)}")
    return list(CLASSES).index(label)


def _load_class(member: Member, number: int) -> Labelled:
    return Labelled(read_picture(BytesIO(read(member))), torch.tensor(number))


class CamVid(Source):
    """The folders train, val and test of photos, and for each photo a PNG of class numbers.

    The masks lie in `trainannot` and so on, as published with SegNet, or beside photos that are WebP.

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
            Example(f"{split}/{photo.stem}", split, partial(_load_mask, photo, mask))
            for split in (TRAIN, VAL, TEST)
            for photo, mask in _with_masks(Path(self.path) / split)
        ]
        if not found:
            raise FileNotFoundError(
                f"no photo at {self.path}/train, with masks in trainannot; set source.init_args.path"
            )
        return found


def _with_masks(folder: Path) -> list[tuple[Path, Path]]:
    masks = folder.with_name(f"{folder.name}annot")
    if masks.is_dir():
        return [(photo, masks / photo.name) for photo in sorted(folder.glob("*.png"))]
    return [(photo, photo.with_suffix(".png")) for photo in sorted(folder.glob("*.webp"))]


def _load_mask(photo: Path, mask: Path) -> Labelled:
    numbers = np.asarray(Image.open(mask))
    return Labelled(read_picture(photo), torch.tensor(numbers, dtype=torch.uint8))


class PennFudan(Source):
    """Photos and the boxes of their pedestrians, as published with a mask for each photo, or in one JSON.

    The set has no split of its own: about `test_share` of the photos, those with the lowest hashes of their
    names, are for tests, so that which ones never changes.

    Args:
        path: the published folder, with `PNGImages` and `PedMasks` in it; or one of photos and of
            `boxes_xyxy.json`.
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
            OSError: neither masks nor boxes are there.
        """
        return [
            Example(photo.stem, TEST if is_held_out(photo.stem, self.test_share) else TRAIN, load)
            for photo, load in self._photos()
        ]

    def _photos(self) -> list[tuple[Path, Callable[[], Labelled]]]:
        folder = Path(self.path)
        if (folder / "PedMasks").is_dir():
            photos = sorted((folder / "PNGImages").glob("*.png"))
            masks = [folder / "PedMasks" / f"{photo.stem}_mask.png" for photo in photos]
            return [
                (photo, partial(_load_instances, photo, mask))
                for photo, mask in zip(photos, masks, strict=True)
            ]
        boxes = json.loads((folder / "boxes_xyxy.json").read_text(encoding="utf-8"))
        return [(folder / name, partial(_load_boxes, folder / name, boxes[name])) for name in sorted(boxes)]


def _load_instances(photo: Path, mask: Path) -> Labelled:
    """The boxes around a mask's instances: 0 is background, every other number one pedestrian."""
    numbers = np.asarray(Image.open(mask))
    rows = []
    for number in np.unique(numbers[numbers > 0]):
        ys, xs = np.nonzero(numbers == number)
        rows.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
    return _load_boxes(photo, np.array(rows, dtype=np.float32).tolist())


def _load_boxes(photo: Path, rows: Sequence[Sequence[float]]) -> Labelled:
    image = read_picture(photo)
    boxes = torch.tensor(rows).reshape(-1, 4) / torch.tensor([image.width, image.height] * 2)
    return Labelled(image, BoxTarget(boxes.clamp(0, 1), torch.zeros(len(rows), dtype=torch.int64)))
