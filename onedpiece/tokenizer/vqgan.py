"""MaskGIT's VQGAN: pixels → one code a patch → pixels, with the key names of the released weights."""

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.tokenizer.config import TokenizerConfig

NORM_GROUPS = 32  # of every GroupNorm in the released decoder; its channels are multiples of it
NORM_EPS = 1e-6  # torch's default is 1e-5
BLOCKS_PER_LEVEL = 2


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


class DownLevel(nn.Module):
    """The blocks of one resolution, then means over 2×2 unless it is the coarsest."""

    def __init__(self, channels_in: int, channels_out: int, downsample: bool) -> None:
        super().__init__()
        widths = [channels_in] + [channels_out] * BLOCKS_PER_LEVEL
        self.block = nn.ModuleList(ResidualBlock(a, b) for a, b in pairwise(widths))
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, 2h, 2w) → (B, out, h, w), or of the same size at the coarsest level."""
        for block in self.block:
            x = block(x)
        return F.avg_pool2d(x, 2) if self.downsample else x


class PixelCodebook(nn.Module):
    """The codebook of one code a patch, read softly; `nearest` finds the code of an encoder's output."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, dim)

    def forward(self, logits: Tensor) -> Tensor:
        """(B, K, g, g) scores → (B, d, g, g), as `expected_code`."""
        return expected_code(logits, self.embedding.weight)

    def nearest(self, latents: Tensor) -> Tensor:
        """(B, d, g, g) latents → (B, g, g) int64, the row of the least squared distance."""
        rows = self.embedding.weight
        places = latents.permute(0, 2, 3, 1)
        # |z|² is the same for all rows
        return (rows.square().sum(dim=1) - 2 * places @ rows.T).argmin(dim=-1)


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


class PixelEncoder(nn.Module):
    """The MaskGIT-VQGAN encoder: levels from the finest to the coarsest, a half of the size between two."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        outs = [channels for _, channels in level_channels(config)]
        coarsest = outs[-1]
        self.conv_in = nn.Conv2d(3, config.vqgan_channels, 3, padding=1, bias=False)
        widths, last = [config.vqgan_channels, *outs], len(outs) - 1
        self.down = nn.ModuleList(
            DownLevel(a, b, downsample=i < last) for i, (a, b) in enumerate(pairwise(widths))
        )
        self.mid = nn.Sequential(*(ResidualBlock(coarsest, coarsest) for _ in range(BLOCKS_PER_LEVEL)))
        self.norm_out = _norm(coarsest)
        self.conv_out = nn.Conv2d(coarsest, config.vqgan_codebook_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, g·2^(levels−1), g·2^(levels−1)) in [0, 1] → (B, d, g, g)."""
        h: Tensor = self.conv_in(x)
        for level in self.down:
            h = level(h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(h))))
        return out


class VQGAN(nn.Module):
    """Encoder, codebook and decoder, named as in `maskgit-vqgan-imagenet-f16-256.bin`.

    Args:
        config: its fields `vqgan_*`.

    Paper: MaskGIT (arXiv 2202.04200); the PyTorch weights are on the hub as fun-research/TiTok.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.encoder = PixelEncoder(config)
        self.quantize = PixelCodebook(config.vqgan_codebook_size, config.vqgan_codebook_dim)
        self.decoder = PixelDecoder(config)

    def codes(self, x: Tensor) -> Tensor:
        """Return one code a patch, (B, g, g) int64, of pictures (B, 3, H, W) in [0, 1]."""
        return self.quantize.nearest(self.encoder(x))

    def draw(self, codes: Tensor) -> Tensor:
        """Return the pictures (B, 3, H, W), about [0, 1], of codes (B, g, g)."""
        picture: Tensor = self.decoder(self.quantize.embedding(codes).permute(0, 3, 1, 2))
        return picture


def load_vqgan(state: Mapping[str, Tensor], config: TokenizerConfig) -> VQGAN:
    """Build a VQGAN, frozen and in evaluation mode, from released weights.

    Args:
        state: tensors by their released names.
        config: the tokenizer whose pixel head it is to fit.

    Raises:
        ValueError: the weights are no MaskGIT-VQGAN, or not of this geometry; the message says which is.
    """
    vqgan = VQGAN(config)
    own = vqgan.state_dict()
    wrong = sorted(own.keys() ^ state.keys()) or [
        name for name, tensor in own.items() if tensor.shape != state[name].shape
    ]
    if wrong:
        raise ValueError(
            f"no VQGAN that fits the tokenizer's pixel head ({', '.join(wrong[:5])} differ); give it the "
            "weights of MaskGIT's, or make the tokenizer's fields vqgan_* theirs"
        )
    vqgan.load_state_dict(dict(state))
    return vqgan.float().eval().requires_grad_(False)
