"""Crops, flips and color jitter of whole batches at once, on whatever device they lie.

Of photos, of pairs whose metric must not be fooled at one grid, and of the linear pictures that heads see.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class AugmentConfig:
    """What a training picture may go through before the network sees it.

    Attributes:
        flip: mirror half of the pictures.
        min_scale: smallest side of the random square crop as a share of the picture's; 1: no crop.

    Raises:
        ValueError: on construction, a scale outside (0, 1].
    """

    flip: bool = True
    min_scale: float = 1.0

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


class Crop(NamedTuple):
    """A square cut out at (top, left), scaled to `out` pixels a side, maybe mirrored."""

    top: int
    left: int
    side: int
    out: int
    mirrored: bool


def sample_crop(size: int, out: int, min_scale: float, generator: torch.Generator) -> Crop:
    """Draw a crop of a `size` × `size` picture.

    Args:
        size: side of the picture.
        out: side of the result in pixels, whatever was cut out.
        min_scale: the square's side is uniform in [min_scale, 1] · size.
        generator: on the CPU.
    """
    scale, y, x, coin = torch.rand(4, generator=generator).tolist()
    side = max(1, round(size * (min_scale + (1 - min_scale) * scale)))
    return Crop(int(y * (size - side + 1)), int(x * (size - side + 1)), side, out, coin < 0.5)


def crop_resize(x: Tensor, crop: Crop) -> Tensor:
    """Return (B, 3, out, out), the crop of x (B, 3, H, W); differentiable."""
    cut = x[:, :, crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
    if crop.side != crop.out:
        cut = F.interpolate(cut, crop.out, mode="bilinear", align_corners=False, antialias=True)
    return cut.flip(3) if crop.mirrored else cut


@dataclass(frozen=True)
class ViewConfig:
    """What the linear pictures of training go through; zeros and a scale of 1 leave them as they are.

    Attributes:
        min_scale: shortest side of a crop, as a share of the picture's.
        aspect: most that log(width / height) of a crop is off, times a half.
        flip: mirror half of them.
        brightness: most that contrast and lightness are off, in standard deviations.
        colour: most that one colour channel is off.
    """

    min_scale: float = 1.0
    aspect: float = 0.0
    flip: bool = False
    brightness: float = 0.0
    colour: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether places change, and targets with them."""
        return self.flip or self.min_scale < 1 or self.aspect > 0

    @property
    def alters(self) -> bool:
        """Whether anything does."""
        return self.moves or self.brightness > 0 or self.colour > 0


class Views(NamedTuple):
    """One view for each photo of a batch, wherever that lies.

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
            grid = F.affine_grid(self.affine.to(x.device), list(x.shape), align_corners=False)
            x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
        return x * self.gain.to(x.device) + self.shift.to(x.device)

    def mask(self, target: Tensor) -> Tensor:
        """Return the views of masks or depths (B, H, W), each value that of the nearest place."""
        if not self.moves:
            return target
        affine = self.affine.to(target.device)
        grid = F.affine_grid(affine, [len(target), 1, *target.shape[1:]], align_corners=False)
        moved = F.grid_sample(
            target[:, None].float(), grid, mode="nearest", padding_mode="reflection", align_corners=False
        )
        return moved[:, 0].to(target.dtype)


def draw_views(batch: int, config: ViewConfig, generator: torch.Generator) -> Views:
    """Draw one view for each of `batch` photos; `generator` is on the CPU, and so are the views."""

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
