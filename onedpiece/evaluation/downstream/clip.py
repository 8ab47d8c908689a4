"""CLIP: the cosine between the features of a reconstruction and those of the original."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from onedpiece.evaluation.downstream.protocol import Example


@dataclass
class _Tally:
    task: "Clip"
    cosines: list[float] = field(default_factory=list)

    def add(self, example: Example, shown: Image.Image) -> None:
        self.cosines.append(float(self.task.expected(example) @ self.task.predict(shown)))

    def value(self) -> float:
        return float(np.mean(self.cosines))


@dataclass
class Clip:
    """Mean cosine of CLIP's image features, reconstruction against original; 1 is the same.

    Args:
        processor: transformers' CLIP processor.
        model: transformers' CLIP model.
    """

    processor: Any
    model: Any
    measure: str = "CLIP cosine with the original (1 is the same)"
    square: bool = False
    _seen: dict[str, Tensor] = field(default_factory=dict, repr=False)  # in originals

    def tally(self) -> _Tally:
        """Return an empty tally."""
        return _Tally(self)

    @torch.no_grad()
    def predict(self, image: Image.Image) -> Tensor:
        """Return one RGB picture's features, (D,), of length 1."""
        features: Tensor = self.model.get_image_features(**self.processor(images=image, return_tensors="pt"))
        return F.normalize(features[0], dim=0)

    def expected(self, example: Example) -> Tensor:
        """Return the original's features, (D,)."""
        if example.name not in self._seen:
            self._seen[example.name] = self.predict(example.image)
        return self._seen[example.name]
