"""Monocular depth: how far the depth seen in a reconstruction is from that seen in the original."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onedpiece.evaluation.downstream.originals import AgainstOriginal
from onedpiece.training.pretrained import depth_seen

Map = NDArray[np.float64]


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
        values: Map = depth_seen(self.processor, self.model, image).double().numpy()
        return values

    def score(self, expected: Map, seen: Map) -> float:
        """Return the error of one map, in percent."""
        return 100 * affine_error(expected, seen)
