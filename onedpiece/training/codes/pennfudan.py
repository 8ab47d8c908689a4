"""Penn-Fudan: pedestrians with boxes."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from onedpiece.pictures import read_picture
from onedpiece.training.codes.sample import BoxTarget
from onedpiece.training.codes.source import TEST, TRAIN, Example, Labelled, Source
from onedpiece.training.data.split import is_held_out


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

    def __init__(self, path: str = "../shared/data/downstream/pennfudan", test_share: float = 0.25) -> None:
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
                partial(_load, folder / name, boxes[name]),
            )
            for name in sorted(boxes)
        ]


def _load(photo: Path, rows: Sequence[Sequence[float]]) -> Labelled:
    image = read_picture(photo)
    boxes = torch.tensor(rows).reshape(-1, 4) / torch.tensor([image.width, image.height] * 2)
    return Labelled(image, BoxTarget(boxes.clamp(0, 1), torch.zeros(len(rows), dtype=torch.int64)))
