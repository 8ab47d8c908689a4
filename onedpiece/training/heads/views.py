"""Random crops, flips and lights of the linear picture: new photos without tokenizing one."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class ViewConfig:
    """What the linear pictures of training go through; zeros and a scale of 1 leave them as they are."""

    min_scale: float = 1.0  # shortest side of a crop, as a share of the picture's
    aspect: float = 0.0  # most that log(width / height) of a crop is off, times a half
    flip: bool = False
    brightness: float = 0.0  # most that contrast and lightness are off, in standard deviations
    colour: float = 0.0  # most that one colour channel is off

    @property
    def moves(self) -> bool:
        """Whether places change, and targets with them."""
        return self.flip or self.min_scale < 1 or self.aspect > 0

    @property
    def alters(self) -> bool:
        """Whether anything does."""
        return self.moves or self.brightness > 0 or self.colour > 0


class Views(NamedTuple):
    """One view for each photo of a batch.

    Attributes:
        affine: (B, 2, 3), where the view's places lie in the photo, both from -1 to 1.
        gain: (B, 1, 1, 1), factor of the standardised pixels.
        shift: (B, 3, 1, 1), what is added to them.
        moves: whether the affine maps are more than the identity.
    """

    affine: Tensor
    gain: Tensor
    shift: Tensor
    moves: bool

    def picture(self, x: Tensor) -> Tensor:
        """Return the views of standardised pictures x (B, 3, S, S)."""
        if self.moves:
            grid = F.affine_grid(self.affine, list(x.shape), align_corners=False)
            x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
        return x * self.gain + self.shift

    def mask(self, target: Tensor) -> Tensor:
        """Return the views of masks or depths (B, H, W), each value that of the nearest place."""
        if not self.moves:
            return target
        grid = F.affine_grid(self.affine, [len(target), 1, *target.shape[1:]], align_corners=False)
        moved = F.grid_sample(
            target[:, None].float(), grid, mode="nearest", padding_mode="reflection", align_corners=False
        )
        return moved[:, 0].to(target.dtype)


def draw_views(batch: int, config: ViewConfig, generator: torch.Generator) -> Views:
    """Draw one view for each of `batch` photos."""

    def spread(width: float, *shape: int) -> Tensor:
        return width * (2 * torch.rand(batch, *shape, generator=generator) - 1)

    scale = 1 - (1 - config.min_scale) * torch.rand(batch, generator=generator)
    ratio = spread(config.aspect).exp()
    width, height = (scale * ratio).clamp_max(1), (scale / ratio).clamp_max(1)
    affine = torch.zeros(batch, 2, 3)
    affine[:, 0, 2], affine[:, 1, 2] = spread(1.0) * (1 - width), spread(1.0) * (1 - height)
    mirror = torch.rand(batch, generator=generator) < 0.5
    affine[:, 0, 0] = torch.where(mirror, -width, width) if config.flip else width
    affine[:, 1, 1] = height
    gain = 1 + spread(config.brightness, 1, 1, 1)
    shift = spread(config.brightness, 1, 1, 1) + spread(config.colour, 3, 1, 1)
    return Views(affine, gain, shift, config.moves)
