"""The same random crop, scale and flip of two pictures, so that a metric cannot be fooled at one grid."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class View(NamedTuple):
    """A square cut out at (top, left), scaled to `out` pixels a side, maybe mirrored."""

    top: int
    left: int
    side: int
    out: int
    mirrored: bool


def draw_view(size: int, out: int, min_scale: float, generator: torch.Generator) -> View:
    """Draw a view of a `size` × `size` picture.

    Args:
        size: side of the picture.
        out: side of the view in pixels, whatever was cut out.
        min_scale: the square's side is uniform in [min_scale, 1] · size.
        generator: on the CPU.
    """
    scale, y, x, coin = torch.rand(4, generator=generator).tolist()
    side = max(1, round(size * (min_scale + (1 - min_scale) * scale)))
    return View(int(y * (size - side + 1)), int(x * (size - side + 1)), side, out, coin < 0.5)


def look(x: Tensor, view: View) -> Tensor:
    """Return (B, 3, out, out), the view of x (B, 3, H, W); differentiable."""
    cut = x[:, :, view.top : view.top + view.side, view.left : view.left + view.side]
    if view.side != view.out:
        cut = F.interpolate(cut, view.out, mode="bilinear", align_corners=False, antialias=True)
    return cut.flip(3) if view.mirrored else cut
