"""Released One-D-Piece state dicts → our names and geometry; `Tokenizer.from_official` builds."""

import re
from collections.abc import Mapping
from math import gcd, isqrt
from typing import NamedTuple

from torch import Tensor

from onedpiece.tokenizer.config import TokenizerConfig

CODEBOOK = "quantize.embedding.weight"
# The pixel head is one module of ours, and three places in a released state dict.
RENAMED = {
    "decoder.head.ffn.": "decoder.ffn.",
    "decoder.head.pixel_quantize.": "pixel_quantize.",
    "decoder.head.pixel_decoder.": "pixel_decoder.",
}
NAMES_SHOWN = 8  # of the keys that an error lists: enough to see the pattern, and still one line

Shape = tuple[int, ...]


def default_heads(width: int) -> int:
    """Return the attention heads of a network of `width` channels, which no tensor's shape tells.

    The published networks have 64 channels a head (512 → 8, 768 → 12, 1024 → 16). Below 256 channels, where
    only scaled-down copies for tests live, it is 16 (64 → 4).
    """
    return max(1, width // (64 if width >= 256 else 16))


def read_config(state_dict: Mapping[str, Tensor], heads: int | None = None) -> TokenizerConfig:
    """Read the geometry off a released state dict's shapes, with both of its quirks on.

    Args:
        state_dict: released key names.
        heads: attention heads; None: `default_heads` of the width.

    Raises:
        ValueError: a key that is needed for it is missing, or has a shape that makes no sense.
    """
    num_tokens, width = _shape(state_dict, "latent_tokens", 2)
    patch_size = _shape(state_dict, "encoder.patch_embed.weight", 4)[3]
    vq_codebook_size, vq_dim = _shape(state_dict, CODEBOOK, 2)
    vqgan_codebook_size, vqgan_codebook_dim = _shape(state_dict, "pixel_quantize.embedding.weight", 2)
    vqgan_channels, vqgan_multipliers = _vqgan_levels(state_dict)
    return TokenizerConfig(
        image_size=patch_size * _grid(state_dict),
        patch_size=patch_size,
        num_tokens=num_tokens,
        width=width,
        heads=default_heads(width) if heads is None else heads,
        encoder_layers=_count(state_dict, "encoder.transformer"),
        decoder_layers=_count(state_dict, "decoder.transformer"),
        quantizer="vq",
        vq_codebook_size=vq_codebook_size,
        vq_dim=vq_dim,
        linear_path=False,
        pixel_head="vqgan",
        vqgan_channels=vqgan_channels,
        vqgan_multipliers=vqgan_multipliers,
        vqgan_codebook_size=vqgan_codebook_size,
        vqgan_codebook_dim=vqgan_codebook_dim,
        released_latent_layout=True,
    )


def released_shapes(ours: Mapping[str, Tensor], config: TokenizerConfig) -> dict[str, Shape]:
    """List the released key names of a geometry, each with its shape.

    Args:
        ours: the state dict of our `Tokenizer` of that geometry; its tensors may be on the meta device.
        config: with quantizer "vq", pixel head "vqgan" and no linear path.
    """
    shapes = {
        released_name(name): tuple(tensor.shape)
        for name, tensor in ours.items()
        if not name.startswith("quantizer.")
    }
    return shapes | {CODEBOOK: (config.vq_codebook_size, config.vq_dim)}


def released_state(
    ours: Mapping[str, Tensor], config: TokenizerConfig, codebook: Tensor | None
) -> dict[str, Tensor]:
    """Return tensors by their released names, for the authors' code to load; the inverse of `convert`.

    Args:
        ours: the state dict of a `Tokenizer`.
        config: its geometry.
        codebook: (codebook_size, dim), of its quantizer; None: it has none.

    Raises:
        ValueError: the geometry is none that the released code has.
    """
    fits = config.quantizer == "vq" and config.pixel_head == "vqgan" and config.released_latent_layout
    if codebook is None or not fits or config.linear_path or config.sharp_blocks:
        raise ValueError(
            "released One-D-Piece code has no such network: it takes quantizer vq, pixel_head vqgan, "
            "released_latent_layout true, linear_path false and sharp_blocks 0"
        )
    if config.heads != default_heads(config.width):
        raise ValueError(
            f"released code has {default_heads(config.width)} heads at this width, not {config.heads}"
        )
    state = {released_name(name): each for name, each in ours.items() if not name.startswith("quantizer.")}
    return state | {CODEBOOK: codebook}


def released_name(name: str) -> str:
    """Return the released key for one of our parameters outside the quantizer."""
    for ours, theirs in RENAMED.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def our_name(key: str) -> str:
    """Return our parameter's name for a released key outside the quantizer."""
    for ours, theirs in RENAMED.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def check_keys(state_dict: Mapping[str, Tensor], expected: Mapping[str, Shape]) -> None:
    """Compare a state dict with the names and shapes that it should have.

    Raises:
        ValueError: naming the keys that are missing, unexpected or of another shape.
    """
    wrong_shape = [
        f"{key} {tuple(state_dict[key].shape)} instead of {shape}"
        for key, shape in expected.items()
        if key in state_dict and tuple(state_dict[key].shape) != shape
    ]
    faults = {
        "missing": sorted(expected.keys() - state_dict.keys()),
        "unexpected": sorted(state_dict.keys() - expected.keys()),
        "of another shape": wrong_shape,
    }
    if any(faults.values()):
        listed = "; ".join(f"{what}: {_some(keys)}" for what, keys in faults.items() if keys)
        raise ValueError(f"not a released One-D-Piece state dict; {listed}")


class Converted(NamedTuple):
    """A released state dict in our terms.

    Attributes:
        config: the geometry.
        state: tensors by our names, all but the quantizer's; the caller's, not copied.
        codebook: (codebook_size, dim), of the quantizer.
    """

    config: TokenizerConfig
    state: dict[str, Tensor]
    codebook: Tensor


def convert(state_dict: Mapping[str, Tensor], heads: int | None = None) -> Converted:
    """Read geometry and names of a released One-D-Piece state dict; `check_keys` says if it is complete.

    Args:
        state_dict: released key names (ALGORITHMS §1).
        heads: attention heads, which the shapes do not tell; None: `default_heads` of the width.

    Raises:
        ValueError: a key that tells a size is missing, or has a shape that makes no sense.

    Source: One-D-Piece, arXiv 2501.10064; the weights are on the hub as turing-motors/One-D-Piece-*-256.
    """
    config = read_config(state_dict, heads)
    state = {our_name(key): tensor for key, tensor in state_dict.items() if key != CODEBOOK}
    return Converted(config, state, state_dict[CODEBOOK])


def _shape(state_dict: Mapping[str, Tensor], key: str, ndim: int) -> Shape:
    if key not in state_dict:
        raise ValueError(f"not a released One-D-Piece state dict; missing: {key}")
    shape = tuple(state_dict[key].shape)
    if len(shape) != ndim or 0 in shape:
        raise ValueError(f"{key} has shape {shape}; a released One-D-Piece has {ndim} dimensions there")
    return shape


def _count(state_dict: Mapping[str, Tensor], prefix: str) -> int:
    """Count the different i of keys `prefix`.i.…; a gap then shows up as a missing and an unexpected key."""
    pattern = re.compile(rf"{re.escape(prefix)}\.(\d+)\.")
    return len({match[1] for key in state_dict if (match := pattern.match(key))})


def _grid(state_dict: Mapping[str, Tensor]) -> int:
    rows, _ = _shape(state_dict, "encoder.positional_embedding", 2)
    grid = isqrt(rows - 1)
    if grid < 1 or grid**2 != rows - 1:
        raise ValueError(f"encoder.positional_embedding has {rows} rows; a class row and a square are needed")
    return grid


def _vqgan_levels(state_dict: Mapping[str, Tensor]) -> tuple[int, tuple[int, ...]]:
    """Return the base width and each level's multiple of it, finest first."""
    count = max(1, _count(state_dict, "pixel_decoder.up"))
    widths = [_shape(state_dict, f"pixel_decoder.up.{i}.block.0.conv2.weight", 4)[0] for i in range(count)]
    base = gcd(*widths)
    return base, tuple(width // base for width in widths)


def _some(keys: list[str]) -> str:
    more = len(keys) - NAMES_SHOWN
    return ", ".join(keys[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
