"""What every reducer returns, and how to go back: the source map, its composition, unmerging."""

from typing import NamedTuple

import torch
from torch import Tensor


class Reduction(NamedTuple):
    """Fewer tokens, and where each of them came from.

    Attributes:
        x: (B, K, C), the tokens that are left.
        size: (B, K, 1), how many original tokens each of them stands for; 0 marks padding.
        source: (B, K, N), the share of input n in output k: 0 or 1 for merging, in [0, 1] for soft
            slimming. The column of a discarded input is zero.
    """

    x: Tensor
    size: Tensor
    source: Tensor


class Fusion(NamedTuple):
    """A reduction that fused the attention map as well (MCTF's one-step-ahead attention).

    Attributes:
        x: (B, K, C), the tokens that are left.
        size: (B, K, 1), how many original tokens each of them stands for.
        attn: (B, H, K, K), the fused attention map; rows still sum to one.
        source: (B, K, N), 0 or 1, which input went where.
    """

    x: Tensor
    size: Tensor
    attn: Tensor
    source: Tensor


def compose(later: Tensor, earlier: Tensor) -> Tensor:
    """Chain two source maps: (B, L, K) after (B, K, N) gives (B, L, N)."""
    return later.to(earlier.dtype) @ earlier


def unmerge(x: Tensor, source: Tensor) -> Tensor:
    """Give every original position the token that it went into, as dense heads need it.

    x: (B, K, C); source: (B, K, N). Returns (B, N, C). A position whose token was discarded is zero;
    one that soft slimming spread over several tokens gets their mean, weighted by its shares.
    """
    shares = source / source.sum(dim=1, keepdim=True).clamp_min(torch.finfo(source.dtype).tiny)
    return shares.transpose(1, 2).to(x.dtype) @ x
