"""Pixel heads: patch features to pixels.

The light ones take a few convolutions, or one matrix for comparison; MaskGIT-VQGAN's goes over soft pixel
codes to a convolutional decoder.
"""

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.tokenizer.config import TokenizerConfig

NORM_GROUPS = 32  # of every GroupNorm in the released decoder; its channels are multiples of it
NORM_EPS = 1e-6  # torch's default is 1e-5
BLOCKS_PER_LEVEL = 2


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


def expected_code(logits: Tensor, codebook: Tensor) -> Tensor:
    """Mix the codebook's rows by the softmax of `logits`.

    Args:
        logits: (B, K, h, w), one score a codebook row, any range.
        codebook: (K, d).

    Returns:
        (B, d, h, w), the expectation of the code under softmax(logits).
    """
    shares = logits.softmax(dim=1).permute(0, 2, 3, 1)
    return (shares @ codebook).permute(0, 3, 1, 2)


def level_channels(config: TokenizerConfig) -> list[tuple[int, int]]:
    """List (channels in, channels out) of each resolution level, finest first.

    Raises:
        ValueError: a level's channels are no multiple of the 32 groups of its GroupNorm.
    """
    outs = [config.vqgan_channels * m for m in config.vqgan_multipliers]
    if any(channels % NORM_GROUPS for channels in outs):
        raise ValueError(
            f"vqgan_channels {config.vqgan_channels} times vqgan_multipliers {config.vqgan_multipliers} "
            f"gives levels of {outs} channels; each must be a multiple of {NORM_GROUPS}"
        )
    return list(zip([*outs[1:], outs[-1]], outs, strict=True))


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(NORM_GROUPS, channels, eps=NORM_EPS)


class ResidualBlock(nn.Module):
    """Two normalised 3×3 convolutions and a shortcut.

    Where the channels change, the released weights were trained with the 1×1 shortcut applied to the
    block's *output* h (so the block returns h + shortcut(h) and its input goes no further); loading
    them faithfully means doing the same.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.norm1 = _norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm2 = _norm(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.nin_shortcut: nn.Conv2d | None = None
        if channels_in != channels_out:
            self.nin_shortcut = nn.Conv2d(channels_out, channels_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) → (B, out, h, w)."""
        h: Tensor = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.nin_shortcut is None else self.nin_shortcut(h))


class UpLevel(nn.Module):
    """The blocks of one resolution, then ×2 nearest upsampling unless it is the finest."""

    def __init__(self, channels_in: int, channels_out: int, upsample: bool) -> None:
        super().__init__()
        widths = [channels_in] + [channels_out] * BLOCKS_PER_LEVEL
        self.block = nn.ModuleList(ResidualBlock(a, b) for a, b in pairwise(widths))
        self.upsample_conv = nn.Conv2d(channels_out, channels_out, 3, padding=1) if upsample else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) → (B, out, 2h, 2w), or (B, out, h, w) at the finest level."""
        for block in self.block:
            x = block(x)
        if self.upsample_conv is not None:
            x = self.upsample_conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x


class PixelCodebook(nn.Module):
    """The codebook of one code a patch, read softly."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, dim)

    def forward(self, logits: Tensor) -> Tensor:
        """(B, K, g, g) scores → (B, d, g, g), as `expected_code`."""
        return expected_code(logits, self.embedding.weight)


class PixelDecoder(nn.Module):
    """The MaskGIT-VQGAN decoder: levels from the coarsest to the finest, ×2 between two of them."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        levels = level_channels(config)
        coarsest, finest = levels[-1][0], levels[0][1]
        self.conv_in = nn.Conv2d(config.vqgan_codebook_dim, coarsest, 3, padding=1)
        self.mid = nn.Sequential(*(ResidualBlock(coarsest, coarsest) for _ in range(BLOCKS_PER_LEVEL)))
        self.up = nn.ModuleList(UpLevel(a, b, upsample=i > 0) for i, (a, b) in enumerate(levels))
        self.norm_out = _norm(finest)
        self.conv_out = nn.Conv2d(finest, 3, 3, padding=1)

    def forward(self, codes: Tensor) -> Tensor:
        """(B, d, g, g) → (B, 3, g·2^(levels−1), g·2^(levels−1)), about [0, 1], not clamped."""
        h: Tensor = self.mid(self.conv_in(codes))
        for level in reversed(self.up):
            h = level(h)
        picture: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return picture


class VQGANHead(nn.Module):
    """The released pixel head: features score a pixel codebook, a CNN draws the expected rows.

    Raises:
        ValueError: the config's VQGAN levels do not fit (`level_channels`).

    Paper: One-D-Piece (arXiv 2501.10064), after TiTok (arXiv 2406.07550) and MaskGIT (arXiv 2202.04200).
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        hidden = 2 * config.width
        self.ffn = nn.Sequential(
            nn.Conv2d(config.width, hidden, 1), nn.Tanh(), nn.Conv2d(hidden, config.vqgan_codebook_size, 1)
        )
        self.pixel_quantize = PixelCodebook(config.vqgan_codebook_size, config.vqgan_codebook_dim)
        self.pixel_decoder = PixelDecoder(config)

    def forward(self, features: Tensor) -> Tensor:
        """(B, W, g, g) patch features → (B, 3, H, W), about [0, 1], not clamped."""
        picture: Tensor = self.pixel_decoder(self.pixel_quantize(self.ffn(features)))
        return picture
