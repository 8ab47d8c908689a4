"""CLIP: the cosine between the features of a reconstruction and those of the original."""

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from onedpiece.evaluation.downstream.originals import AgainstOriginal


class Clip(AgainstOriginal[Tensor]):
    """Mean cosine of CLIP's image features, reconstruction against original; 1 is the same.

    Args:
        processor: transformers' CLIP processor.
        model: transformers' CLIP model.
    """

    measure = "CLIP cosine with the original (1 is the same)"

    @torch.no_grad()
    def predict(self, image: Image.Image) -> Tensor:
        """Return one RGB picture's features, (D,), of length 1."""
        features: Tensor = self.model.get_image_features(**self.processor(images=image, return_tensors="pt"))
        return F.normalize(features[0], dim=0)

    def score(self, expected: Tensor, seen: Tensor) -> float:
        """Return the cosine of two pictures' features."""
        return float(expected @ seen)
