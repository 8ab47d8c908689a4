"""How good pictures are beside their photo, in the metrics that a target can name.

It stands beside `codec.py`, between the pixels and the search for a target, and knows no network but LPIPS's.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from onedpiece.pictures import psnr

if TYPE_CHECKING:
    from onedpiece.rate.perceptual import Lpips

Score = Callable[[Sequence[Image.Image]], list[float]]
"""Pictures of the photo's own size -> one score each."""

MIN_SIDES = {"ssim": 11, "lpips": 32}  # pixels: SSIM's window; what AlexNet's pooling leaves a pixel of
MAX_PIXELS = 16_000_000  # SSIM and LPIPS hold the photo's feature maps, about 150 bytes a pixel


def scorer(metric: str, photo: Image.Image) -> Score:
    """Return what scores pictures by `metric` ("psnr", "ssim" or "lpips") beside an RGB photo.

    Raises:
        ValueError: the photo is too small or too large for the metric.
        MissingWeightsError: the weights of LPIPS cannot be had.
    """
    if metric == "psnr":
        return lambda pictures: [psnr(photo, picture) for picture in pictures]
    _check_size(metric, photo.size)
    compare = _distance() if metric == "lpips" else _ssim()
    reference = _to_batch(photo)
    # One at a time: their feature maps are what takes memory.
    return lambda pictures: [float(compare(reference, _to_batch(picture))) for picture in pictures]


def _check_size(metric: str, size: tuple[int, int]) -> None:
    if min(size) < MIN_SIDES[metric]:
        raise ValueError(
            f"{metric} needs sides of at least {MIN_SIDES[metric]} pixels, the photo is {size[0]}x{size[1]}; "
            "aim at psnr instead"
        )
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(
            f"{metric} takes photos up to {MAX_PIXELS} pixels, this is {size[0]}x{size[1]}; aim at psnr"
        )


def _to_batch(picture: Image.Image) -> Tensor:
    return torch.tensor(np.asarray(picture)).permute(2, 0, 1)[None].float() / 255


def _ssim() -> Callable[[Tensor, Tensor], Tensor]:
    from onedpiece.rate.scores import ssim

    return ssim


def _distance() -> Callable[[Tensor, Tensor], Tensor]:
    return _alex().distance


@cache
def _alex() -> "Lpips":
    from onedpiece.rate.perceptual import Lpips

    return Lpips("alex")
