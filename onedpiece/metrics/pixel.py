"""PSNR, SSIM and MS-SSIM of pictures, on what an 8-bit screen shows: the one place that defines them."""

from math import log10

import numpy as np
import torch
from PIL import Image, ImageChops
from torch import Tensor

MS_SSIM_MIN_SIDE = 161  # five scales of an 11-pixel window: torchmetrics asks for more than (11 - 1) * 2**4


def round_to_8_bits(images: Tensor) -> Tensor:
    """Return what a file of 8 bits a channel keeps of `images` (any shape, in [0, 1] or beyond)."""
    return (images.clamp(0, 1) * 255).round() / 255


def psnr(reference: Tensor, images: Tensor) -> Tensor:
    """Return the PSNR of each picture in dB, (B,); infinite where nothing differs.

    Args:
        reference: (B, 3, H, W) or (1, 3, H, W), in [0, 1].
        images: (B, 3, H, W), in [0, 1]; both are rounded to 8 bits first.
    """
    error = (round_to_8_bits(reference) - round_to_8_bits(images)).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error)


def ssim(reference: Tensor, images: Tensor) -> Tensor:
    """Return the SSIM of each picture, (B,): Gaussian window of 11 pixels; shapes as in `psnr`.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".
    """
    # torchmetrics takes a second to import, and most who score never ask for SSIM.
    from torchmetrics.functional.image import structural_similarity_index_measure

    reference, images = round_to_8_bits(reference).expand_as(images), round_to_8_bits(images)
    scores = structural_similarity_index_measure(images, reference, data_range=1.0, reduction="none")
    return per_picture(scores)


def per_picture(scores: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Return one score a picture, (B,), from what a metric of torchmetrics returns."""
    # torchmetrics returns a pair when asked for the full map, and drops the batch axis of a single picture.
    return (scores if isinstance(scores, Tensor) else scores[0]).reshape(-1)


def ms_ssim(reference: Tensor, images: Tensor) -> Tensor:
    """Return the MS-SSIM of each picture, (B,): five scales; shapes as in `psnr`.

    Raises:
        ValueError: a side of at most 160 pixels, which five scales do not fit into.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    if min(images.shape[-2:]) < MS_SSIM_MIN_SIDE:
        raise ValueError(
            f"MS-SSIM needs sides of at least {MS_SSIM_MIN_SIDE} pixels, the pictures are "
            f"{images.shape[-1]}x{images.shape[-2]}; leave 'ms-ssim' out of the metrics"
        )
    reference, images = round_to_8_bits(reference).expand_as(images), round_to_8_bits(images)
    scores = multiscale_structural_similarity_index_measure(
        images, reference, data_range=1.0, reduction="none", normalize="relu"
    )
    return per_picture(scores)


def image_psnr(photo: Image.Image, image: Image.Image) -> float:
    """Return the peak signal-to-noise ratio of two RGB pictures of one size, over all channels, in dB.

    Equal pictures have an infinite one.
    """
    counts = np.array(ImageChops.difference(photo, image).histogram(), np.float64).reshape(3, 256)
    error = float((counts @ np.arange(256.0) ** 2).sum() / counts.sum())
    return 10 * log10(255**2 / error) if error else float("inf")
