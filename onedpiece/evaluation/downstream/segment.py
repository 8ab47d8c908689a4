"""Semantic segmentation: mean intersection over union of a network's classes."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from onedpiece.evaluation.downstream.networks import Pretrained
from onedpiece.evaluation.downstream.protocol import Example

VOID = 255  # pixels of a mask that count for nothing, as in Pascal VOC

Mask = NDArray[np.int64]


def confusion(expected: Mask, seen: Mask, classes: int) -> NDArray[np.int64]:
    """Return how many pixels of each expected class (rows) were seen as each (columns), void left out."""
    valid = (expected >= 0) & (expected < classes)
    pairs = expected[valid] * classes + seen[valid]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def mean_iou(counts: NDArray[np.int64]) -> float:
    """Return the mean over the classes that occur, expected or seen, of intersection over union, 0 to 1."""
    both = np.diag(counts)
    either = counts.sum(0) + counts.sum(1) - both
    occurs = either > 0
    return float((both[occurs] / either[occurs]).mean()) if occurs.any() else float("nan")


@dataclass
class _Tally:
    task: "Segment"
    counts: NDArray[np.int64]

    def add(self, example: Example, shown: Image.Image) -> None:
        expected = self.task.expected(example)
        self.counts += confusion(expected, self.task.predict(shown), len(self.counts))

    def value(self) -> float:
        return 100 * mean_iou(self.counts)


@dataclass
class Segment:
    """Mean IoU; without masks, against what the network sees in the original.

    Args:
        pretrained: a torchvision segmentation network.
        masks: a folder of PNG masks of class indices, named as the photos are, 255 for void.
    """

    pretrained: Pretrained
    masks: Path | None = None
    square: bool = False
    _seen: dict[str, Mask] = field(default_factory=dict, repr=False)  # in originals

    @property
    def measure(self) -> str:
        """The measure's name."""
        return "mIoU, %" if self.masks else "mIoU against the original's own segmentation, %"

    def tally(self) -> _Tally:
        """Return an empty tally."""
        classes = len(self.pretrained.categories)
        return _Tally(self, np.zeros((classes, classes), np.int64))

    @torch.no_grad()
    def predict(self, image: Image.Image) -> Mask:
        """Return the class of each pixel of an RGB picture, (H, W)."""
        logits = self.pretrained.network(self.pretrained.preprocess(image)[None])["out"]
        logits = F.interpolate(logits, (image.height, image.width), mode="bilinear", align_corners=False)
        classes: Mask = logits[0].argmax(0).numpy().astype(np.int64)
        return classes

    def expected(self, example: Example) -> Mask:
        """Return the mask that counts as right, (H, W).

        Raises:
            ValueError: the photo has no mask, or one of another size.
        """
        if self.masks is None:
            if example.name not in self._seen:
                self._seen[example.name] = self.predict(example.image)
            return self._seen[example.name]
        path = (self.masks / example.name).with_suffix(".png")
        if not path.is_file():
            raise ValueError(f"{example.name} has no mask {path}")
        mask = np.asarray(Image.open(path)).astype(np.int64)
        if mask.shape != (example.image.height, example.image.width):
            raise ValueError(f"the mask {path} is {mask.shape[::-1]}, its photo {example.image.size}")
        return mask
