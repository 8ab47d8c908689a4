"""Tasks with labels: classification, semantic segmentation and object detection.

Scored by the share of right classes, by mean intersection over union, and by COCO's mean average precision.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from onedpiece.errors import MissingExtraError
from onedpiece.evaluation.downstream.base import Example, OriginalAnswers, device_of
from onedpiece.weights.third_party import Pretrained

VOID = 255  # pixels of a mask that count for nothing, as in Pascal VOC

Mask = NDArray[np.int64]


CONFIDENT = 0.5  # a box in an original counts as an object from this score on, where there are no labels

Boxes = Mapping[str, Sequence[Sequence[float]]]
"""By file name: rows of class (0 to 79, COCO's order), x0, y0, x1, y1 in pixels."""


@dataclass
class _ClassTally:
    task: "Classify"
    right: int = 0
    shown: int = 0

    def add(self, example: Example, shown: Image.Image) -> None:
        self.shown += 1
        self.right += self.task.predict(shown) == self.task.expected(example)

    def value(self) -> float:
        return 100 * self.right / self.shown


@dataclass
class Classify(OriginalAnswers[int]):
    """Top-1 of an ImageNet classifier; without labels, agreement with what it says of the original.

    Args:
        pretrained: the classifier.
        labels: class index by file name.
    """

    pretrained: Pretrained
    labels: Mapping[str, int] | None = None
    square: bool = True
    _answers: dict[int, int] = field(default_factory=dict, init=False, repr=False)

    @property
    def measure(self) -> str:
        """The measure's name."""
        return "top-1, %" if self.labels is not None else "same class as the original, %"

    @property
    def labelled(self) -> bool:
        """Whether there are labels, found by a photo's name."""
        return self.labels is not None

    def tally(self) -> _ClassTally:
        """Return an empty tally."""
        return _ClassTally(self)

    @torch.no_grad()
    def predict(self, image: Image.Image) -> int:
        """Return the class index of one RGB picture."""
        pixels = self.pretrained.preprocess(image)[None].to(device_of(self.pretrained.network))
        return int(self.pretrained.network(pixels)[0].argmax())

    def expected(self, example: Example) -> int:
        """Return the class that counts as right.

        Raises:
            ValueError: there are labels, but none for this file.
        """
        if self.labels is None:
            return self.of_original(example)
        if example.name not in self.labels:
            raise ValueError(f"the labels have no line for {example.name}")
        return self.labels[example.name]


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
class _MaskTally:
    task: "Segment"
    counts: NDArray[np.int64]

    def add(self, example: Example, shown: Image.Image) -> None:
        expected = self.task.expected(example)
        self.counts += confusion(expected, self.task.predict(shown), len(self.counts))

    def value(self) -> float:
        return 100 * mean_iou(self.counts)


@dataclass
class Segment(OriginalAnswers[Mask]):
    """Mean IoU; without masks, against what the network sees in the original.

    Args:
        pretrained: a torchvision segmentation network.
        masks: a folder of PNG masks of class indices, named as the photos are, 255 for void.
    """

    pretrained: Pretrained
    masks: Path | None = None
    square: bool = False
    _answers: dict[int, Mask] = field(default_factory=dict, init=False, repr=False)

    @property
    def measure(self) -> str:
        """The measure's name."""
        return "mIoU, %" if self.masks else "mIoU against the original's own segmentation, %"

    @property
    def labelled(self) -> bool:
        """Whether there are masks, found by a photo's name."""
        return self.masks is not None

    def tally(self) -> _MaskTally:
        """Return an empty tally."""
        classes = len(self.pretrained.categories)
        return _MaskTally(self, np.zeros((classes, classes), np.int64))

    @torch.no_grad()
    def predict(self, image: Image.Image) -> Mask:
        """Return the class of each pixel of an RGB picture, (H, W)."""
        pixels = self.pretrained.preprocess(image)[None].to(device_of(self.pretrained.network))
        logits = self.pretrained.network(pixels)["out"]
        logits = F.interpolate(logits, (image.height, image.width), mode="bilinear", align_corners=False)
        classes: Mask = logits[0].argmax(0).cpu().numpy().astype(np.int64)
        return classes

    def expected(self, example: Example) -> Mask:
        """Return the mask that counts as right, (H, W).

        Raises:
            ValueError: the photo has no mask, or one of another size.
        """
        if self.masks is None:
            return self.of_original(example)
        path = (self.masks / example.name).with_suffix(".png")
        if not path.is_file():
            raise ValueError(f"{example.name} has no mask {path}")
        mask = np.asarray(Image.open(path)).astype(np.int64)
        if mask.shape != (example.image.height, example.image.width):
            raise ValueError(f"the mask {path} is {mask.shape[::-1]}, its photo {example.image.size}")
        return mask


def read_boxes(path: Path) -> Boxes:
    """Read such boxes from a JSON file.

    Raises:
        ValueError: it is something else.
        OSError: the file cannot be opened.
    """
    boxes = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(boxes, dict) or any(len(row) != 5 for rows in boxes.values() for row in rows):
        raise ValueError(f"{path} is not a mapping of file names to rows of [class, x0, y0, x1, y1]")
    return boxes


@dataclass
class _BoxTally:
    task: "Detect"
    average: Any  # torchmetrics' MeanAveragePrecision

    def add(self, example: Example, shown: Image.Image) -> None:
        self.average.update([self.task.predict(shown)], [self.task.expected(example)])

    def value(self) -> float:
        value = float(self.average.compute()["map"])
        return 100 * value if value >= 0 else float("nan")  # -1: there was no object in any original


@dataclass
class Detect(OriginalAnswers[dict[str, Tensor]]):
    """mAP at IoU 0.50 to 0.95; without boxes, against what the network finds in the original.

    Args:
        pretrained: a torchvision detector trained on COCO.
        boxes: the objects there are.
    """

    pretrained: Pretrained
    boxes: Boxes | None = None
    square: bool = False
    _answers: dict[int, dict[str, Tensor]] = field(default_factory=dict, init=False, repr=False)

    @property
    def measure(self) -> str:
        """The measure's name."""
        return "mAP 50-95, %" if self.boxes is not None else "mAP against the original's own detections, %"

    @property
    def labelled(self) -> bool:
        """Whether there are boxes, found by a photo's name."""
        return self.boxes is not None

    def tally(self) -> _BoxTally:
        """Return an empty tally.

        Raises:
            MissingExtraError: pycocotools is not installed; the message names the extra.
        """
        from torchmetrics.detection import MeanAveragePrecision

        try:
            return _BoxTally(self, MeanAveragePrecision())
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "detection needs an extra: pip install 'onedpiece[downstream]'"
            ) from error

    @torch.no_grad()
    def predict(self, image: Image.Image) -> dict[str, Tensor]:
        """Return torchmetrics' mapping of boxes, scores and labels for one RGB picture."""
        pixels = self.pretrained.preprocess(image).to(device_of(self.pretrained.network))
        found: dict[str, Tensor] = self.pretrained.network([pixels])[0]
        return {key: value.cpu() for key, value in found.items()}

    def expected(self, example: Example) -> dict[str, Tensor]:
        """Return torchmetrics' mapping of the boxes and labels that count as right."""
        if self.boxes is not None:
            return self._labelled(self.boxes.get(example.name, ()))
        found = self.of_original(example)
        sure = found["scores"] >= CONFIDENT
        return {"boxes": found["boxes"][sure], "labels": found["labels"][sure]}

    def _labelled(self, rows: Sequence[Sequence[float]]) -> dict[str, Tensor]:
        # The network counts COCO's 91 categories, of which 80 are used; labels count those 80.
        used = [
            at for at, name in enumerate(self.pretrained.categories) if name not in ("__background__", "N/A")
        ]
        labels = torch.tensor([used[int(row[0])] for row in rows], dtype=torch.int64)
        return {"boxes": torch.tensor([row[1:] for row in rows]).reshape(-1, 4).float(), "labels": labels}
