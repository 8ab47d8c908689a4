"""CamVid: road scenes with a class for each pixel."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from onedpiece.pictures import read_picture
from onedpiece.training.codes.source import TEST, TRAIN, VAL, Example, Labelled, Source

VOID = 11
"""In masks: pixels that count for nothing."""


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

    def __init__(self, path: str = "../shared/data/downstream/camvid") -> None:
        self.path = path

    def examples(self) -> list[Example]:
        """List the photos.

        Raises:
            FileNotFoundError: there is none, or one has no mask.
        """
        found = [
            Example(f"{split}/{photo.stem}", split, partial(_load, photo))
            for split in (TRAIN, VAL, TEST)
            for photo in sorted((Path(self.path) / split).glob("*.webp"))
        ]
        if not found:
            raise FileNotFoundError(f"no photo at {self.path}/train/*.webp; set source.init_args.path")
        return found


def _load(photo: Path) -> Labelled:
    mask = np.asarray(Image.open(photo.with_suffix(".png")))
    return Labelled(read_picture(photo), torch.tensor(mask, dtype=torch.uint8))
