"""MCTF, multi-criteria token fusion (arXiv 2403.10030).

`fuse` is the operator on its own; `plan` and `pooling_weights` are its parts, for callers who
want the fused tokens without paying for a fused attention map.
"""

from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from onedpiece.retokenize.groups import Groups, keep_all, pool_max, pool_sum, pool_weighted, source_map
from onedpiece.retokenize.matching import (
    behind_prefix,
    cosine_scores,
    match_behind_prefix,
    match_both_ways,
    match_one_way,
    num_removable,
)
from onedpiece.retokenize.reduction import Fusion

Pooling = Literal["attention", "size", "max", "mean"]

# The authors stop fusing here: a class token and nine others.
MIN_TOKENS = 10


def fuse(
    x: Tensor,
    attn: Tensor,
    size: Tensor | None = None,
    r: float = 16,
    tau_sim: float = 1,
    tau_info: float = 20,
    tau_size: float = 40,
    bidirectional: bool = True,
    pooling: Pooling = "attention",
    num_protected: int = 1,
) -> Fusion:
    """Fuse `r` tokens into similar, uninformative, small ones, and the attention map with them.

    x: (B, N, C), the residual stream before the first norm; attn: (B, H, N, N), softmax over the last
    axis; size: (B, N, 1), ones where not given. `r` below 1 is a share of the unprotected tokens. A
    temperature of 0 switches its criterion off. The first `num_protected` tokens never take part.
    Never leaves fewer than 10 tokens, never fuses more than half of the unprotected ones.

    Raises:
        ValueError: `r` or a temperature is negative, or `pooling` is unknown.

    Reference: arXiv 2403.10030, equations 3-9.
    """
    size = x.new_ones(*x.shape[:2], 1) if size is None else size
    received = attention_received(attn)
    groups = plan(
        x,
        received,
        size,
        num_removable(x.shape[1], num_protected, r, MIN_TOKENS),
        taus=(tau_sim, tau_info, tau_size),
        bidirectional=bidirectional,
        num_protected=num_protected,
    )
    weights = pooling_weights(received, size, pooling)
    source = source_map(groups, x.shape[1], x.dtype)
    fused = pool_max(x, groups) if pooling == "max" else pool_weighted(x, weights, groups)
    fused_size = pool_sum(size[..., 0], groups)[..., None]
    return Fusion(fused, fused_size, fuse_attention(attn, weights, source), source)


def attention_received(attn: Tensor) -> Tensor:
    """Mean attention that each token gets, over heads and queries: (B, H, N, N) gives (B, N), float32."""
    return attn.mean(dim=(1, 2), dtype=torch.float32)


@torch.no_grad()
def plan(
    x: Tensor,
    received: Tensor,
    size: Tensor,
    num_removed: int,
    taus: tuple[float, float, float] = (1, 20, 40),
    bidirectional: bool = True,
    num_protected: int = 1,
) -> Groups:
    """Choose who is fused with whom: x (B, N, C), received (B, N), size (B, N, 1)."""
    if num_removed == 0:
        return keep_all(x)
    match = match_both_ways if bidirectional else match_one_way
    x, received, size = (behind_prefix(values, num_protected) for values in (x, received, size))
    scores = criteria_scores(x, received, size, taus)
    return match_behind_prefix(scores, num_protected, partial(match, r=num_removed))


def criteria_scores(x: Tensor, received: Tensor, size: Tensor, taus: tuple[float, float, float]) -> Tensor:
    """Attractiveness of every even-odd pair: similarity × uninformativeness × smallness.

    x: (B, N, C), received: (B, N), size: (B, N, 1). Returns (B, |A|, |B|) in [0, 1].

    Raises:
        ValueError: a temperature is negative.

    Reference: arXiv 2403.10030, equations 3-6.
    """
    if min(taus) < 0:
        raise ValueError(f"taus are {taus}; give positive temperatures, or 0 to switch a criterion off")
    tau_sim, tau_info, tau_size = taus
    # The product over a pair of per-token factors: one factor a token instead of two more N × N maps.
    gain = _inverse_criterion(received, tau_info) * _inverse_criterion(size[..., 0], tau_size)
    scores = (cosine_scores(x).float() + 1) / 2
    scores = _tempered(scores.clamp_min(0), tau_sim)
    return scores * gain[:, ::2, None] * gain[:, None, 1::2]


def check_pooling(pooling: str) -> None:
    """Raise ValueError unless it is one of `Pooling`."""
    if pooling not in get_args(Pooling):
        raise ValueError(f"pooling is {pooling!r}; choose one of {', '.join(get_args(Pooling))}")


def pooling_weights(received: Tensor, size: Tensor, pooling: Pooling = "attention") -> Tensor:
    """Weight of each token inside its group: received (B, N), size (B, N, 1) give (B, N).

    Raises:
        ValueError: `pooling` is unknown.
    """
    check_pooling(pooling)
    if pooling == "attention":
        return received * size[..., 0] / size[..., 0].amax(dim=1, keepdim=True)
    return size[..., 0] if pooling == "size" else torch.ones_like(size[..., 0])


def fuse_attention(attn: Tensor, weights: Tensor, source: Tensor) -> Tensor:
    """Fuse an attention map: keys are summed, queries take the weighted mean.

    attn: (B, H, N, N), weights: (B, N), source: (B, K, N). Returns (B, H, K, K).

    Reference: arXiv 2403.10030, section 3.4 (one-step-ahead attention).
    """
    queries = source * weights[:, None]
    queries = (queries / queries.sum(dim=-1, keepdim=True)).to(attn.dtype)
    return queries[:, None] @ attn @ source[:, None].transpose(2, 3).to(attn.dtype)


def _inverse_criterion(values: Tensor, tau: float) -> Tensor:
    inverse = values.float().clamp_min(torch.finfo(torch.float32).tiny).reciprocal()
    return _tempered(inverse / inverse.amax(dim=1, keepdim=True), tau)


def _tempered(values: Tensor, tau: float) -> Tensor:
    if tau == 0:
        return torch.ones_like(values)
    return values if tau == 1 else values.pow(1 / tau)
