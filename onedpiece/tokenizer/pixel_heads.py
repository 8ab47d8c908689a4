"""What draws pixels: patches, the VQGAN decoder behind its codes, and the sharp network behind them."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.tokenizer.config import TokenizerConfig
from onedpiece.tokenizer.vqgan import PixelCodebook, PixelDecoder


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

    def logits(self, features: Tensor) -> Tensor:
        """(B, W, g, g) patch features → (B, K, g, g), a score for each row of the pixel codebook."""
        scores: Tensor = self.ffn(features)
        return scores

    def forward(self, features: Tensor) -> Tensor:
        """(B, W, g, g) patch features → (B, 3, H, W), about [0, 1], not clamped."""
        picture: Tensor = self.pixel_decoder(self.pixel_quantize(self.logits(features)))
        return picture


SCALE = 4
"""The network works at a quarter of the picture's resolution."""

LOW_PASS = 8
"""Side in pixels of the blocks whose means are kept from the faithful picture: the tokens tell these."""

INPUT_CHANNELS = 3 + 3 * SCALE**2 + 1


class _Conv3x3(nn.Conv2d):
    """A 3×3 convolution that draws no weights under `no_init_weights`: of 350, that would take long."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            super().reset_parameters()


class ResidualDenseBlock(nn.Module):
    """Five 3×3 convolutions, each on all before it, a fifth of the last added to the input.

    Source: ESRGAN, arXiv 1809.00219 §3.1.
    """

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for i in range(4):
            self.add_module(f"conv{i + 1}", _Conv3x3(width + i * growth, growth))
        self.conv5 = _Conv3x3(width + 4 * growth, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same."""
        seen = x
        for i in range(4):
            grown = F.leaky_relu(self.get_submodule(f"conv{i + 1}")(seen), 0.2, inplace=True)
            seen = torch.cat([seen, grown], dim=1)
        return torch.add(x, self.conv5(seen), alpha=0.2)


class RRDB(nn.Module):
    """A residual in residual dense block: three dense blocks, a fifth of them added to the input."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(width, growth)
        self.rdb2 = ResidualDenseBlock(width, growth)
        self.rdb3 = ResidualDenseBlock(width, growth)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same."""
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=0.2)


class SharpNetwork(nn.Module):
    """An RRDBNet that sees the faithful picture and how many tokens it was made of.

    Names and shapes are those of Real-ESRGAN's x4plus but for the first convolution, which has 52 channels in
    place of 3: the quarter-size picture, what that lost (`SCALE`² places a colour), and log₂(tokens) / 8. The
    buffer `gain`, (2,), multiplies what is drawn into the faithful picture: its values are for 1 token and
    for 256, between them it is linear in log₂(tokens). It is measured, not trained; training asks for 1.

    Args:
        blocks: residual in residual dense blocks; x4plus has 23.
        width: channels of the trunk.
        growth: channels that each convolution of a dense block adds, in all blocks or block by block.
        fine: channels of its maps at full resolution; None: as many as the trunk has.

    Source: Real-ESRGAN, arXiv 2107.10833; ESRGAN, arXiv 1809.00219.
    """

    def __init__(
        self, blocks: int = 23, width: int = 64, growth: int | Sequence[int] = 32, fine: int | None = None
    ) -> None:
        super().__init__()
        self.conv_first = _Conv3x3(INPUT_CHANNELS, width)
        growths = (growth,) * blocks if isinstance(growth, int) else growth
        self.body = nn.Sequential(*(RRDB(width, each) for each in growths))
        self.conv_body = _Conv3x3(width, width)
        self.conv_up1 = _Conv3x3(width, width)
        fine = fine or width
        self.conv_up2 = _Conv3x3(width, fine)
        self.conv_hr = _Conv3x3(fine, fine)
        self.conv_last = _Conv3x3(fine, 3)
        self.gain: Tensor
        self.register_buffer("gain", torch.ones(2))
        if not self.conv_last.weight.is_meta:
            self.to(memory_format=torch.channels_last)

    def forward(self, faithful: Tensor, tokens: Tensor) -> Tensor:
        """Draw the sharp picture.

        Args:
            faithful: (B, 3, H, W) in [0, 1], H and W multiples of `LOW_PASS`; may be a crop.
            tokens: (B,), how many tokens each picture was decoded from.

        Returns:
            (B, 3, H, W), about [0, 1], not clamped; its `LOW_PASS`² means are nearly the faithful picture's.
        """
        x = self.trunk(faithful, tokens)
        x = F.leaky_relu(self.conv_up1(F.interpolate(x, scale_factor=2)), 0.2)
        x = F.leaky_relu(self.conv_up2(F.interpolate(x, scale_factor=2)), 0.2)
        drawn: Tensor = self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2)).float()
        detail = drawn - faithful
        few, many = self.gain
        gain = few + (many - few) * (tokens.to(detail).log2() / 8)
        sharp: Tensor = faithful + gain.view(-1, 1, 1, 1) * (detail - low_pass(detail))
        return sharp

    def trunk(self, faithful: Tensor, tokens: Tensor) -> Tensor:
        """Return (B, width, H / 4, W / 4), what is drawn from behind all blocks; arguments as `forward`'s."""
        x = self.conv_first(network_input(faithful, tokens).to(self.conv_first.weight.dtype))
        seen: Tensor = x + self.conv_body(self._run_body(x))
        return seen

    def _run_body(self, x: Tensor) -> Tensor:
        """Run the blocks on x (B, width, H, W), the fastest way that is as exact as the modules are."""
        plain = is_plain_inference(x, self.conv_first.weight) and not any(side % TILE for side in x.shape[2:])
        if plain and _products_are_exact():
            # One picture at a time: its maps stay in the processor's cache.
            return torch.cat([_run_in_tiles(self.body, picture[None]) for picture in x])
        body: Tensor = self.body(x)
        return body


def network_input(faithful: Tensor, tokens: Tensor) -> Tensor:
    """Return (B, 52, H / 4, W / 4): the quarter-size picture, what it lost, and log₂(tokens) / 8."""
    quarter = F.interpolate(
        faithful, scale_factor=1 / SCALE, mode="bicubic", align_corners=False, antialias=True
    )
    lost = F.pixel_unshuffle(faithful, SCALE) - quarter.repeat_interleave(SCALE**2, dim=1)
    count = (tokens.to(quarter).log2() / 8).view(-1, 1, 1, 1).expand(-1, 1, *quarter.shape[2:])
    return torch.cat([quarter, lost, count], dim=1).contiguous(memory_format=torch.channels_last)


def low_pass(x: Tensor) -> Tensor:
    """Return x (B, C, H, W) as means over `LOW_PASS`² pixels, scaled up bilinearly."""
    means = F.avg_pool2d(x, LOW_PASS)
    return F.interpolate(means, x.shape[-2:], mode="bilinear", align_corners=False)


def is_plain_inference(x: Tensor, weight: Tensor) -> bool:
    """Whether nothing looks on: no gradient, tracing, compiler or autocast; float32 on a CPU."""
    return (
        not torch.is_grad_enabled()
        and type(x) is Tensor
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not (torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"))
    )


# Winograd's minimal filtering, F(4×4, 3×3): a convolution's 16 pixels of a tile from its 36 with their border
# by 36 products in place of 144, about as exact in float32 (tests/tokenizer/test_winograd.py). A dense block
# reads every map up to five times and transforms it once. Matrices: Lavin and Gray, arXiv 1509.09308 §4.

TILE = 4
"""Pixels on a side of Winograd's tiles."""

_INPUT = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
          (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1))  # fmt: skip
_FILTER = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))  # in 24ths
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def _products_are_exact() -> bool:
    """Whether float32 products are just that: Winograd's sums would multiply what rounder ones lose."""
    return torch.backends.mkldnn.matmul.fp32_precision in ("none", "ieee")  # type: ignore[attr-defined]


@cache
def _winograd_matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Return what transforms tiles with their borders, (36, 36), filters, (36, 9), and products, (16, 36).

    The first one's columns are in the order of `_Maps.append`: the tile's own pixels, the rows above and
    below it, the columns left and right, the corners.
    """
    at = [[row * 6 + column for column in range(6)] for row in range(6)]
    own = [at[row][column] for row in range(1, 5) for column in range(1, 5)]
    sides = at[0][1:5] + at[5][1:5] + [row[0] for row in at[1:5]] + [row[5] for row in at[1:5]]
    corners = [at[0][0], at[0][5], at[5][0], at[5][5]]
    with torch.device("cpu"):
        inputs, filters, outputs = (
            torch.kron(matrix, matrix)
            for matrix in (torch.tensor(rows, dtype=torch.float32) for rows in (_INPUT, _FILTER, _OUTPUT))
        )
        return inputs[:, own + sides + corners].contiguous(), filters / 24**2, outputs


def _run_in_tiles(body: nn.Sequential, x: Tensor) -> Tensor:
    """Run RRDBs on the maps of one picture, x (1, C, H, W), H and W multiples of `TILE`."""
    tiles = F.pixel_unshuffle(x[0], TILE).view(x.shape[1], TILE**2, x.shape[2] // TILE, -1)
    rrdbs = cast(Sequence[RRDB], body)
    maps = _Maps(max(rrdb.rdb1.conv5.in_channels for rrdb in rrdbs), tiles)
    for rrdb in rrdbs:
        kept = tiles
        for block in (rrdb.rdb1, rrdb.rdb2, rrdb.rdb3):
            tiles = torch.add(tiles, _run_dense_block(block, tiles, maps), alpha=0.2)
        tiles = torch.add(kept, tiles, alpha=0.2)
    return F.pixel_shuffle(tiles.flatten(0, 1), TILE)[None]


def _run_dense_block(block: ResidualDenseBlock, tiles: Tensor, maps: "_Maps") -> Tensor:
    """Return a dense block's last convolution, (C, 16, rows, columns), of tiles of the same shape."""
    *growing, last = cast(Iterable[nn.Conv2d], block.children())
    maps.known = 0
    maps.append(tiles)
    for conv in growing:
        maps.append(F.leaky_relu_(maps.convolve(conv), 0.2))
    return maps.convolve(last)


class _Maps:
    """What a dense block's convolutions have seen so far, transformed; in one memory for all blocks.

    Args:
        most: maps that the last convolution sees.
        like: (C, 16, rows, columns), tiles as they will come.
    """

    def __init__(self, most: int, like: Tensor) -> None:
        self.grid, self.known = like.shape[2:], 0
        self._seen = like.new_empty(most, 36, self.grid.numel())
        self._bordered = like.new_zeros(most, 36, *self.grid)  # outside the picture it stays 0

    def append(self, tiles: Tensor) -> None:
        """Transform tiles (C, 16, rows, columns) with their borders, and know them too."""
        bordered = self._bordered[: len(tiles)]
        pixels = tiles.view(-1, TILE, TILE, *self.grid)
        bordered[:, :16] = tiles
        bordered[:, 16:20, 1:] = pixels[:, 3, :, :-1]
        bordered[:, 20:24, :-1] = pixels[:, 0, :, 1:]
        bordered[:, 24:28, :, 1:] = pixels[:, :, 3, :, :-1]
        bordered[:, 28:32, :, :-1] = pixels[:, :, 0, :, 1:]
        bordered[:, 32, 1:, 1:] = pixels[:, 3, 3, :-1, :-1]
        bordered[:, 33, 1:, :-1] = pixels[:, 3, 0, :-1, 1:]
        bordered[:, 34, :-1, 1:] = pixels[:, 0, 3, 1:, :-1]
        bordered[:, 35, :-1, :-1] = pixels[:, 0, 0, 1:, 1:]
        out = self._seen[self.known : self.known + len(tiles)]
        torch.bmm(_winograd_matrices()[0].expand(len(tiles), -1, -1), bordered.flatten(2), out=out)
        self.known += len(tiles)

    def convolve(self, conv: nn.Conv2d) -> Tensor:
        """Return conv's tiles, (out, 16, rows, columns), of all that is known."""
        _, filters, outputs = _winograd_matrices()
        channels = conv.out_channels
        assert conv.bias is not None
        # Channels-last weights lie as this product wants them, one matrix for each channel that comes out.
        weight = conv.weight.permute(0, 2, 3, 1).reshape(channels, 9, -1)
        weight = torch.bmm(filters.expand(channels, -1, -1), weight).transpose(0, 1)
        products = torch.bmm(weight, self._seen[: self.known].transpose(0, 1)).transpose(0, 1)
        tiles = torch.bmm(outputs.expand(channels, -1, -1), products)
        return tiles.add_(conv.bias.view(-1, 1, 1)).view(-1, TILE**2, *self.grid)
