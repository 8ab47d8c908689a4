"""PSNR of 8-bit images, with Pillow and numpy only: what runs where torch is not installed."""

from collections.abc import Callable, Sequence
from math import log10

import numpy as np
from PIL import Image, ImageChops

from onedpiece.errors import MissingExtraError
from onedpiece.metrics.descriptors import METRICS

ImageScorer = Callable[[Sequence[Image.Image]], list[float]]
"""Pictures of the photo's own size -> one score each."""


def image_psnr(photo: Image.Image, image: Image.Image) -> float:
    """Return the PSNR of two RGB pictures of one size, over all channels, in dB; infinite where equal.

    It is `pixel.psnr` by histograms: no tensor of a large photo is made.
    """
    counts = np.array(ImageChops.difference(photo, image).histogram(), np.float64).reshape(3, 256)
    error = float((counts @ np.arange(256.0) ** 2).sum() / counts.sum())
    return 10 * log10(255**2 / error) if error else float("inf")


def psnr_scorer(photo: Image.Image) -> ImageScorer:
    """Return what scores pictures by their PSNR beside an RGB photo."""
    return lambda pictures: [image_psnr(photo, picture) for picture in pictures]


def missing_torch(metric: str) -> MissingExtraError:
    """Return the error of a metric that is computed by torch, where that is not installed."""
    return MissingExtraError(
        f"{METRICS[metric].label} is computed by torch: pip install torch, or aim at psnr"
    )
