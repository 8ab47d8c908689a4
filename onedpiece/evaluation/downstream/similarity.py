"""Tasks against the original: what a network makes of a reconstruction and of the photo itself.

CLIP: the cosine between their features; monocular depth: how far apart the depths seen in them are.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from onedpiece.evaluation.downstream.base import AgainstOriginal, device_of
from onedpiece.weights.third_party import depth_seen

Map = NDArray[np.float64]


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
        pixels = self.processor(images=image, return_tensors="pt")["pixel_values"]
        found = self.model.get_image_features(pixel_values=pixels.to(device_of(self.model)))
        # transformers 4 returns the projected features, 5 an output whose pooled field they are.
        features: Tensor = found if isinstance(found, Tensor) else found.pooler_output
        return F.normalize(features[0].float(), dim=0).cpu()

    def score(self, expected: Tensor, seen: Tensor) -> float:
        """Return the cosine of two pictures' features."""
        return float(expected @ seen)


def affine_error(expected: Map, seen: Map) -> float:
    """Return the mean absolute difference over the mean expected value, after the best scale and shift.

    Relative depth is known up to a scale and a shift only (Ranftl et al. 2020, arXiv 1907.01341, section 5).
    """
    columns = np.stack([seen.ravel(), np.ones(seen.size)], axis=1)
    fitted = columns @ np.linalg.lstsq(columns, expected.ravel(), rcond=None)[0]
    return float(np.abs(fitted - expected.ravel()).mean() / np.abs(expected).mean())


class Depth(AgainstOriginal[Map]):
    """Depth error against the network's own map of the original.

    Args:
        processor: transformers' image processor.
        model: transformers' depth estimator.
    """

    measure = "depth error against the original's own map, % (lower is better)"

    def predict(self, image: Image.Image) -> Map:
        """Return the relative depth of each pixel of an RGB picture, (H, W)."""
        values: Map = depth_seen(self.processor, self.model, image).double().cpu().numpy()
        return values

    def score(self, expected: Map, seen: Map) -> float:
        """Return the error of one map, in percent."""
        return 100 * affine_error(expected, seen)
