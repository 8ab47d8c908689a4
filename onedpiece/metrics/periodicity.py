"""Power at the patch period: whether a decoder draws a mesh of its own grid into its pictures."""

import torch
from torch import Tensor

NEAREST, FARTHEST = 2, 4
"""Bins on either side that count as a frequency's neighbours: past the main lobe of the window."""

_TINY = 1e-12  # of the power of one pixel in [0, 1]: what is flat has no mesh


def mesh_ratio(images: Tensor, period: int = 16) -> Tensor:
    """Return the power at the patch period over that of the spectrum around it, (B,); about 1 without a mesh.

    A mesh of `period` pixels has all its power at the frequencies k / period, of which a photo knows nothing:
    each is compared with the mean of its neighbours 2 to 4 bins away, along the axis where it lies on one
    (photos have more power there), and the ratios are averaged over all harmonics but the mean grey.

    Args:
        images: (B, 3, H, W) in [0, 1]; each side at least 12 periods, what is over a multiple is cut off.
        period: pixels.

    Raises:
        ValueError: a side is shorter than 12 periods.
    """
    height, width = (side // period * period for side in images.shape[-2:])
    if min(height, width) < 12 * period:
        raise ValueError(
            f"a mesh of {period} pixels shows in sides of at least {12 * period} pixels; the pictures are "
            f"{images.shape[-1]}x{images.shape[-2]}"
        )
    power = _power(images[..., :height, :width])
    around = _neighbours(power)
    down, across = height // period, width // period
    ratios = ((power + _TINY) / (around + _TINY))[:, ::down, ::across].flatten(1)
    mean: Tensor = ratios[:, 1:].mean(dim=1)  # the first is the mean grey
    return mean


def _power(images: Tensor) -> Tensor:
    """Return the power spectrum of the mean of the channels, (B, H, W), under a Hann window."""
    grey = images.float().mean(dim=1)
    grey = grey - grey.mean(dim=(1, 2), keepdim=True)
    columns, rows = (torch.hann_window(side, device=images.device) for side in grey.shape[1:])
    spectrum = torch.fft.fft2(grey * columns[:, None] * rows)
    power: Tensor = spectrum.abs().square() / grey[0].numel()
    return power


def _neighbours(power: Tensor) -> Tensor:
    """Return the mean power around each frequency, (B, H, W): along the axis for those that lie on one."""
    down, across = _along(power, 1), _along(power, 2)
    around = (down + across) / 2
    around[:, 0] = across[:, 0]
    around[:, :, 0] = down[:, :, 0]
    return around


def _along(power: Tensor, axis: int) -> Tensor:
    steps = [step for far in range(NEAREST, FARTHEST + 1) for step in (-far, far)]
    return torch.stack([power.roll(step, axis) for step in steps]).mean(dim=0)
