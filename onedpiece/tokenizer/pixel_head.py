"""The light pixel heads: patch features to pixels in a few convolutions, or in one matrix for comparison."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.tokenizer.config import TokenizerConfig


class PatchHead(nn.Module):
    """Patch features → a quarter-resolution map → pixels, with overlapping convolutions on the way.

    A bare linear map to 16×16 patches can draw textures with the period of the patch grid, which fool LPIPS
    and nobody else; the 3×3 convolutions at a quarter and at full resolution see across patch borders.

    Args:
        config: with `config.linear_path` the last layer starts at zero; with `config.pixel_head` "shuffle"
            there is no convolution at full resolution.
    """

    def __init__(self, config: TokenizerConfig, channels: int = 64, fine_channels: int = 8) -> None:
        super().__init__()
        self.fine = min(4, config.patch_size)
        self.coarse = config.patch_size // self.fine
        smooth = config.pixel_head != "shuffle"
        self.expand = nn.Conv2d(config.width, channels * self.coarse**2, 1)
        self.mix_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.mix_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsample = nn.Conv2d(channels, (fine_channels if smooth else 3) * self.fine**2, 3, padding=1)
        self.to_pixels = nn.Conv2d(fine_channels, 3, 3, padding=1) if smooth else None
        _start_last(self.upsample if self.to_pixels is None else self.to_pixels, config)
        self.to(memory_format=torch.channels_last)  # a fifth faster on a CPU, same numbers

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, width, grid, grid) to (B, 3, H, W)."""
        x = F.pixel_shuffle(self.expand(features), self.coarse)
        x = x + self.mix_2(F.gelu(self.mix_1(F.gelu(x))))
        x = F.pixel_shuffle(self.upsample(F.gelu(x)), self.fine)
        return x if self.to_pixels is None else cast(Tensor, self.to_pixels(F.gelu(x)))


class LinearHead(nn.Module):
    """Each patch's pixels by one matrix from its features: the cheapest head, blind across patch borders.

    Args:
        config: with `config.linear_path` the matrix starts at zero.

    Source: masked autoencoders, arXiv 2111.06377 §3.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.patch = config.patch_size
        self.to_pixels = nn.Conv2d(config.width, 3 * self.patch**2, 1)
        _start_last(self.to_pixels, config)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, width, grid, grid) to (B, 3, H, W)."""
        return F.pixel_shuffle(self.to_pixels(features), self.patch)


def _start_last(layer: nn.Conv2d, config: TokenizerConfig) -> None:
    """Let a head begin with the linear picture alone, or without one around mid-grey."""
    if config.linear_path:
        nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, 0.0 if config.linear_path else 0.5)
