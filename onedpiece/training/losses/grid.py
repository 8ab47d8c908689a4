"""The error that repeats from patch to patch: the texture by which LPIPS is fooled."""

from torch import Tensor

PERIOD = 16
"""Pixels; the side of a patch of every preset. Textures of 8 or 4 pixels repeat after 16 too."""

WINDOW = 4
"""Patches a side over which an error must repeat to count: 64 pixels."""


def grid_error(error: Tensor) -> Tensor:
    """Return the mean square of what is alike in all patches of a window, a scalar.

    The error is averaged over the patches of each window, so that what changes from patch to patch cancels
    and a pattern with the period of the patch grid stays; a patch's own mean does not count. Photographs
    have no such pattern at the grid's phase, so a decoder that draws one made it up: this is what a
    perceptual loss alone teaches it within a few thousand pictures, and what a classifier cannot read.

    Args:
        error: (B, C, H, W), picture minus original; H and W multiples of PERIOD.
    """
    batch, channels, height, width = error.shape
    rows, columns = _windows(height), _windows(width)
    patches = error.reshape(batch, channels, *rows, PERIOD, *columns, PERIOD)
    repeated = patches.mean(dim=(3, 6))
    return (repeated - repeated.mean(dim=(3, 5), keepdim=True)).square().mean()


def _windows(pixels: int) -> tuple[int, int]:
    """How many windows there are along so many pixels, and patches in each."""
    patches, rest = divmod(pixels, PERIOD)
    if rest:
        raise ValueError(
            f"pixel.grid needs sides that are multiples of {PERIOD} pixels, got {pixels}; set it to 0"
        )
    return (patches // WINDOW, WINDOW) if patches % WINDOW == 0 else (1, patches)
