"""Object detection: COCO's mean average precision."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from onedpiece.evaluation.downstream.networks import Pretrained
from onedpiece.evaluation.downstream.protocol import Example

CONFIDENT = 0.5  # a box in an original counts as an object from this score on, where there are no labels

Boxes = Mapping[str, Sequence[Sequence[float]]]
"""By file name: rows of class (0 to 79, COCO's order), x0, y0, x1, y1 in pixels."""


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
class _Tally:
    task: "Detect"
    average: Any  # torchmetrics' MeanAveragePrecision

    def add(self, example: Example, shown: Image.Image) -> None:
        self.average.update([self.task.predict(shown)], [self.task.expected(example)])

    def value(self) -> float:
        return 100 * float(self.average.compute()["map"])


@dataclass
class Detect:
    """mAP at IoU 0.50 to 0.95; without boxes, against what the network finds in the original.

    Args:
        pretrained: a torchvision detector trained on COCO.
        boxes: the objects there are.
    """

    pretrained: Pretrained
    boxes: Boxes | None = None
    square: bool = False
    _found: dict[str, dict[str, Tensor]] = field(default_factory=dict, repr=False)  # in originals

    @property
    def measure(self) -> str:
        """The measure's name."""
        return "mAP 50-95, %" if self.boxes is not None else "mAP against the original's own detections, %"

    def tally(self) -> _Tally:
        """Return an empty tally.

        Raises:
            ModuleNotFoundError: pycocotools is not installed; the message names the extra.
        """
        from torchmetrics.detection import MeanAveragePrecision

        try:
            return _Tally(self, MeanAveragePrecision())
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "detection needs an extra: pip install 'onedpiece[downstream]'"
            ) from error

    @torch.no_grad()
    def predict(self, image: Image.Image) -> dict[str, Tensor]:
        """Return torchmetrics' mapping of boxes, scores and labels for one RGB picture."""
        found: dict[str, Tensor] = self.pretrained.network([self.pretrained.preprocess(image)])[0]
        return found

    def expected(self, example: Example) -> dict[str, Tensor]:
        """Return torchmetrics' mapping of the boxes and labels that count as right."""
        if self.boxes is not None:
            return self._labelled(self.boxes.get(example.name, ()))
        if example.name not in self._found:
            found = self.predict(example.image)
            sure = found["scores"] >= CONFIDENT
            self._found[example.name] = {"boxes": found["boxes"][sure], "labels": found["labels"][sure]}
        return self._found[example.name]

    def _labelled(self, rows: Sequence[Sequence[float]]) -> dict[str, Tensor]:
        # The network counts COCO's 91 categories, of which 80 are used; labels count those 80.
        used = [
            at for at, name in enumerate(self.pretrained.categories) if name not in ("__background__", "N/A")
        ]
        labels = torch.tensor([used[int(row[0])] for row in rows], dtype=torch.int64)
        return {"boxes": torch.tensor([row[1:] for row in rows]).reshape(-1, 4).float(), "labels": labels}
