"""PSNR and SSIM of pictures, on what an 8-bit screen shows: the one place that defines them."""

import torch
from torch import Tensor


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
