"""Tail Token Drop: how many leading tokens a sample keeps, and the mask that says so."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

KeepLaw = Literal["uniform", "log_uniform", "mixture", "power_of_two", "full"]
"""Distribution of the keep count; `mixture` tosses a coin between the first two for each sample."""


def _uniform(batch: int, num_tokens: int, generator: torch.Generator | None) -> Tensor:
    return torch.randint(1, num_tokens + 1, (batch,), generator=generator)


def _log_uniform(batch: int, num_tokens: int, generator: torch.Generator | None) -> Tensor:
    exponent = torch.rand(batch, generator=generator, dtype=torch.float64)
    return torch.exp(exponent * torch.tensor(num_tokens + 1.0).log()).long().clamp(1, num_tokens)


def _power_of_two(batch: int, num_tokens: int, generator: torch.Generator | None) -> Tensor:
    exponent = torch.randint(0, num_tokens.bit_length(), (batch,), generator=generator)
    return torch.pow(2, exponent).clamp(max=num_tokens)


def sample_lengths(
    batch: int, num_tokens: int, law: KeepLaw = "uniform", generator: torch.Generator | None = None
) -> Tensor:
    """Draw how many leading tokens each sample keeps.

    Args:
        batch: samples.
        num_tokens: N, the full length.
        law: `uniform` is One-D-Piece's U{1…N}; `log_uniform` and `power_of_two` favour short codes
            (FlexTok, arXiv 2502.13967); `mixture` is half of each of the first two; `full` keeps all.
        generator: on the CPU; None draws from the global one.

    Returns:
        (batch,) int64 in 1…N, on the CPU.

    Raises:
        ValueError: an unknown law.
    """
    if law == "uniform":
        return _uniform(batch, num_tokens, generator)
    if law == "log_uniform":
        return _log_uniform(batch, num_tokens, generator)
    if law == "power_of_two":
        return _power_of_two(batch, num_tokens, generator)
    if law == "full":
        return torch.full((batch,), num_tokens)
    if law == "mixture":
        coin = torch.rand(batch, generator=generator) < 0.5
        return torch.where(
            coin, _uniform(batch, num_tokens, generator), _log_uniform(batch, num_tokens, generator)
        )
    raise ValueError(f"law is {law!r}; use uniform, log_uniform, mixture, power_of_two or full")


class Kept(NamedTuple):
    """Padded codes cut to the longest; `lengths` is None where all are equal and no mask is needed."""

    indices: Tensor
    lengths: Tensor | None


def cut_to_longest(indices: Tensor, lengths: Tensor | Sequence[int]) -> Kept:
    """Cut padded codes to the longest of them, with zeros behind the shorter ones.

    Args:
        indices: (B, k) integers; what stands behind a sample's length may be anything.
        lengths: (B,) in 1…k.

    Raises:
        ValueError: there is not one length in 1…k for each sample.
    """
    lengths = torch.as_tensor(lengths, device=indices.device)
    if lengths.shape != indices.shape[:1] or bool(((lengths < 1) | (lengths > indices.shape[1])).any()):
        raise ValueError(
            f"lengths are {lengths.tolist()}; one in 1…{indices.shape[1]} is needed for each sample"
        )
    longest = int(lengths.max()) if len(lengths) else indices.shape[1]
    kept = indices[:, :longest].where(key_mask(lengths, longest), 0)
    return Kept(kept, None if bool((lengths == longest).all()) else lengths)


def key_mask(lengths: Tensor, num_tokens: int) -> Tensor:
    """Return (B, num_tokens) bool: True for the first `lengths[b]` tokens of row b.

    Args:
        lengths: (B,) integers in 1…num_tokens.
        num_tokens: columns.
    """
    return torch.arange(num_tokens, device=lengths.device) < lengths[:, None]
