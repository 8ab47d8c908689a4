"""PSNR, SSIM and MS-SSIM of pictures, on what an 8-bit screen shows: the one place that defines them.

The PSNR of images needs no torch, which loads where tensors are scored.
"""

from collections.abc import Callable, Sequence
from math import log10
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageChops

from onedpiece.errors import MissingExtraError
from onedpiece.metrics.descriptors import METRICS

if TYPE_CHECKING:
    from torch import Tensor

ImageScorer = Callable[[Sequence[Image.Image]], list[float]]
"""Pictures of the photo's own size -> one score each."""

_RADIUS, _SIGMA = 5, 1.5  # pixels, of SSIM's Gaussian window
_LARGE = 1 << 22  # pixels of a photo, from which on a smaller picture is scaled up in strips beside it
_ROWS = 16  # of a large photo that are scored at a time: they stay in the processor's cache
_C1, _C2 = 0.01**2, 0.03**2


def round_to_8_bits(images: "Tensor") -> "Tensor":
    """Return what a file of 8 bits a channel keeps of `images` (any shape, in [0, 1] or beyond)."""
    return (images.clamp(0, 1) * 255).round() / 255


def psnr(reference: "Tensor", images: "Tensor") -> "Tensor":
    """Return the PSNR of each picture over all its channels in dB, (B,); infinite where nothing differs.

    Args:
        reference: (B, 3, H, W) or (1, 3, H, W), in [0, 1].
        images: (B, 3, H, W), in [0, 1]; both are rounded to 8 bits first.
    """
    error = (round_to_8_bits(reference) - round_to_8_bits(images)).square().mean(dim=(1, 2, 3))
    return -10 * error.log10()


class SsimReference(NamedTuple):
    """What SSIM asks of a reference, for many pictures beside it.

    Attributes:
        centred: (B, 3, H, W), about the middle of the range, where differences of squares keep their digits.
        means: (B, 3, H - 10, W - 10), of each window.
        variances: the same shape.
    """

    centred: "Tensor"
    means: "Tensor"
    variances: "Tensor"


def ssim_reference(reference: "Tensor") -> SsimReference:
    """Return what `ssim` needs of (B, 3, H, W) in [0, 1], to compute it only once.

    Raises:
        ValueError: a side is shorter than the window.
    """
    import torch

    _check_side("ssim", reference)
    pixels = round_to_8_bits(reference)
    means = torch.cat([_window_mean(pixels[:, c : c + 1]) for c in range(3)], dim=1)
    centred = pixels - 0.5
    squares = [_window_mean(centred[:, c : c + 1].square()) for c in range(3)]
    return SsimReference(centred, means, torch.cat(squares, dim=1) - (means - 0.5).square())


def ssim(reference: "Tensor | SsimReference", images: "Tensor") -> "Tensor":
    """Return the SSIM of each picture, (B,); shapes as in `psnr`, sides of at least 11 pixels.

    Gaussian window of 11 pixels, σ 1.5, only where it lies wholly inside, the mean over channels. It is what
    `skimage.metrics.structural_similarity(a, b, channel_axis=-1, data_range=255, gaussian_weights=True,
    sigma=1.5, use_sample_covariance=False)` returns for the 8-bit pictures.

    Args:
        reference: as in `psnr`, or what `ssim_reference` makes of it.
        images: as in `psnr`.

    Raises:
        ValueError: a side is shorter than the window.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".
    """
    import torch

    _check_side("ssim", images)
    beside = reference if isinstance(reference, SsimReference) else ssim_reference(reference)
    images = round_to_8_bits(images)
    # A channel at a time: ten maps of a large photo are a lot of memory.
    channels = [
        _ssim_of_channel(SsimReference(*(part[:, c : c + 1] for part in beside)), images[:, c : c + 1])
        for c in range(3)
    ]
    return torch.stack(channels).mean(dim=0)


def _ssim_of_channel(a: SsimReference, b: "Tensor") -> "Tensor":
    """Return (B,) for one channel, each part of `a` and `b` with one."""
    mean_b = _window_mean(b)
    b = b - 0.5
    shifted_a, shifted_b = a.means - 0.5, mean_b - 0.5
    variances = a.variances + _window_mean(b * b) - shifted_b.square()
    covariance = _window_mean(a.centred * b) - shifted_a * shifted_b
    luminance = (2 * a.means * mean_b + _C1) / (a.means.square() + mean_b.square() + _C1)
    return (luminance * (2 * covariance + _C2) / (variances + _C2)).mean(dim=(1, 2, 3))


def _window_mean(channel: "Tensor") -> "Tensor":
    """Return the Gaussian-weighted mean around each pixel that has a whole window, (B, 1, H - 10, W - 10)."""
    import torch

    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64, device="cpu")
    weights = torch.exp(-0.5 * (offsets / _SIGMA) ** 2)
    window = (weights / weights.sum()).tolist()
    return _weighted(_weighted(channel, window, 2), window, 3)


def _weighted(x: "Tensor", weights: list[float], dim: int) -> "Tensor":
    """Slide a window along one side; sums of shifted pictures take a third of a convolution's time."""
    length = x.shape[dim] - len(weights) + 1
    total = x.narrow(dim, 0, length) * weights[0]
    for start, weight in enumerate(weights[1:], 1):
        total.add_(x.narrow(dim, start, length), alpha=weight)
    return total


def ms_ssim(reference: "Tensor", images: "Tensor") -> "Tensor":
    """Return the MS-SSIM of each picture, (B,), by torchmetrics: five scales; shapes as in `psnr`.

    Raises:
        ValueError: a side of at most 160 pixels, which five scales do not fit into.

    Wang et al. 2003, "Multiscale structural similarity for image quality assessment".
    """
    # torchmetrics takes a second to import, and most who score never ask for MS-SSIM.
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    _check_side("ms-ssim", images)
    reference, images = round_to_8_bits(reference).expand_as(images), round_to_8_bits(images)
    scores = multiscale_structural_similarity_index_measure(
        images, reference, data_range=1.0, reduction="none", normalize="relu"
    )
    # torchmetrics drops the batch axis of a single picture.
    return scores.reshape(-1)


def _check_side(name: str, images: "Tensor") -> None:
    metric = METRICS[name]
    if min(images.shape[-2:]) < metric.min_side:
        raise ValueError(
            f"{metric.label} needs sides of at least {metric.min_side} pixels, the pictures are "
            f"{images.shape[-1]}x{images.shape[-2]}; leave {name!r} out of the metrics"
        )


def image_psnr(photo: Image.Image, image: Image.Image) -> float:
    """Return the PSNR of two RGB pictures over all channels, in dB; infinite where they are equal.

    It is `psnr` by histograms: no tensor of a large photo is made. An image that is smaller than the photo is
    scaled up bicubically; beside a large one a few rows at a time, within 1e-4 dB, in 40 % of the time.

    Args:
        photo: the reference.
        image: of the photo's size, or with no side larger than the photo's.
    """
    if image.size != photo.size and photo.width * photo.height >= _LARGE:
        error = _upscaled_error(photo, image)
    else:
        image = image.resize(photo.size, Image.Resampling.BICUBIC) if image.size != photo.size else image
        counts = np.array(ImageChops.difference(photo, image).histogram(), np.float64).reshape(3, 256)
        error = float((counts @ np.arange(256.0) ** 2).sum() / counts.sum())
    return 10 * log10(255**2 / error) if error else float("inf")


def _upscaled_error(photo: Image.Image, small: Image.Image) -> float:
    """Return the mean squared error of a small picture that is scaled up to the photo's size, in levels²."""
    width, height = photo.size
    wide = small.resize((width, small.height), Image.Resampling.BICUBIC)
    rows = np.asarray(wide, np.float32).reshape(small.height, -1) + np.float32(0.5)  # to round by floor
    unit = Image.fromarray(np.eye(small.height, dtype=np.float32))
    weights = np.asarray(unit.resize((small.height, height), Image.Resampling.BICUBIC))  # as Pillow has them
    room, total = np.empty((_ROWS, 3 * width), np.float32), 0.0
    for top in range(0, height, _ROWS):
        part = weights[top : top + _ROWS]
        first, *_, last = np.flatnonzero(part.any(axis=0)).tolist() * 2
        used = slice(first, last + 1)
        # Not matmul: its library's threads would wait for more work on cores that a network needs.
        levels = np.einsum("or,rp->op", part[:, used], rows[used], out=room[: len(part)])
        np.floor(np.clip(levels, 0, 255, out=levels), out=levels)
        levels -= np.asarray(photo.crop((0, top, width, top + len(part)))).reshape(len(part), -1)
        total += float(np.vdot(levels, levels))
    return total / (3 * width * height)


def psnr_scorer(photo: Image.Image) -> ImageScorer:
    """Return what scores pictures by their PSNR beside an RGB photo."""
    return lambda pictures: [image_psnr(photo, picture) for picture in pictures]


def missing_torch(metric: str) -> MissingExtraError:
    """Return the error of a metric that is computed by torch, where that is not installed."""
    return MissingExtraError(
        f"{METRICS[metric].label} is computed by torch: pip install torch, or aim at psnr"
    )
