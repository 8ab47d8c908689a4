"""Flips and crops of a whole batch at once, on whatever device it lies."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AugmentConfig:
    """What a training picture may go through before the network sees it.

    Raises:
        ValueError: on construction, a scale outside (0, 1].
    """

    flip: bool = True  # mirrored photos are photos
    min_scale: float = 1.0  # smallest side of the random square crop as a share of the picture's; 1: no crop

    def __post_init__(self) -> None:
        if not 0 < self.min_scale <= 1:
            raise ValueError(f"augment.min_scale is {self.min_scale}; use a share in (0, 1]")


def to_unit(pixels: Tensor) -> Tensor:
    """Return bytes in 0…255 as float32 in [0, 1]."""
    return pixels.float().div_(255.0)


def random_flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each picture left to right with probability ½.

    Args:
        x: (B, 3, H, W).
        generator: on the device of `x`.
    """
    coin = torch.rand(x.shape[0], 1, 1, 1, generator=generator, device=x.device) < 0.5
    return torch.where(coin, x.flip(3), x)


def random_crop(x: Tensor, min_scale: float, generator: torch.Generator) -> Tensor:
    """Cut a random square out of each picture and scale it back up, bilinearly.

    Args:
        x: (B, 3, S, S) float.
        min_scale: the square's side is uniform in [min_scale, 1] · S.
        generator: on the device of `x`.

    Returns:
        (B, 3, S, S).
    """
    draws = torch.rand(3, x.shape[0], generator=generator, device=x.device)
    scale = min_scale + (1.0 - min_scale) * draws[0]
    shift = (2.0 * draws[1:] - 1.0) * (1.0 - scale)
    zero = torch.zeros_like(scale)
    rows = [torch.stack([scale, zero, shift[0]], dim=1), torch.stack([zero, scale, shift[1]], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def augment(x: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Apply what `config` asks for to a batch (B, 3, S, S) in [0, 1]."""
    if config.min_scale < 1:
        x = random_crop(x, config.min_scale, generator)
    return random_flip(x, generator) if config.flip else x
