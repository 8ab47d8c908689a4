"""Monocular depth: how far the depth seen in a reconstruction is from that seen in the original."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from onedpiece.evaluation.downstream.protocol import Example

Map = NDArray[np.float64]


def affine_error(expected: Map, seen: Map) -> float:
    """Return the mean absolute difference over the mean expected value, after the best scale and shift.

    Relative depth is known up to a scale and a shift only (Ranftl et al. 2020, arXiv 1907.01341, section 5).
    """
    columns = np.stack([seen.ravel(), np.ones(seen.size)], axis=1)
    fitted = columns @ np.linalg.lstsq(columns, expected.ravel(), rcond=None)[0]
    return float(np.abs(fitted - expected.ravel()).mean() / np.abs(expected).mean())


@dataclass
class _Tally:
    task: "Depth"
    errors: list[float] = field(default_factory=list)

    def add(self, example: Example, shown: Image.Image) -> None:
        self.errors.append(affine_error(self.task.expected(example), self.task.predict(shown)))

    def value(self) -> float:
        return 100 * float(np.mean(self.errors))


@dataclass
class Depth:
    """Depth error against the network's own map of the original.

    Args:
        processor: transformers' image processor.
        model: transformers' depth estimator.
    """

    processor: Any
    model: Any
    measure: str = "depth error against the original's own map, % (lower is better)"
    square: bool = False
    _seen: dict[str, Map] = field(default_factory=dict, repr=False)  # in originals

    def tally(self) -> _Tally:
        """Return an empty tally."""
        return _Tally(self)

    @torch.no_grad()
    def predict(self, image: Image.Image) -> Map:
        """Return the relative depth of each pixel of an RGB picture, (H, W)."""
        inputs = self.processor(images=image, return_tensors="pt")
        depth = self.model(**inputs).predicted_depth[None]
        resized = F.interpolate(depth, (image.height, image.width), mode="bicubic", align_corners=False)
        values: Map = resized[0, 0].double().numpy()
        return values

    def expected(self, example: Example) -> Map:
        """Return the map that counts as right, (H, W)."""
        if example.name not in self._seen:
            self._seen[example.name] = self.predict(example.image)
        return self._seen[example.name]
