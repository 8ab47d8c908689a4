"""MCTF, multi-criteria token fusion (arXiv 2403.10030).

`fuse` is the operator on its own; `plan` and `pooling_weights` are its parts, for callers who
want the fused tokens without paying for a fused attention map. `MctfReducer` puts it into a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from onedpiece.retokenize.block import (
    BlockAdapter,
    Layout,
    Tokens,
    advance,
    attention_map,
    front,
    merge_heads,
    plain_step,
    size_bias,
    sizes,
    with_tail,
)
from onedpiece.retokenize.groups import (
    Fusion,
    Groups,
    destinations,
    keep_all,
    mix,
    mixture,
    pool_max,
    pool_sum,
    pool_weighted,
    source_map,
    take_rows,
)
from onedpiece.retokenize.matching import (
    Removal,
    behind_prefix,
    cosine_scores,
    match_behind_prefix,
    match_both_ways,
    match_one_way,
    num_removable,
    r_of,
)

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
    """Choose who is fused with whom: x (B, N, C), received (B, N), size (B, N, 1).

    A compiler sees one operator: taken apart, its sorts and gathers are kernels of their own for every number
    of tokens, which take two and a half times as long to compile and run no faster.
    """
    if num_removed == 0:
        return keep_all(x)
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        taus = float(taus[0]), float(taus[1]), float(taus[2])
        return Groups(*_plan_op(x, received, size, num_removed, *taus, bidirectional, num_protected))
    return _plan(x, received, size, num_removed, taus, bidirectional, num_protected)


def _plan(
    x: Tensor,
    received: Tensor,
    size: Tensor,
    num_removed: int,
    taus: tuple[float, float, float],
    bidirectional: bool,
    num_protected: int,
) -> Groups:
    match = match_both_ways if bidirectional else match_one_way
    x, received, size = (behind_prefix(values, num_protected) for values in (x, received, size))
    scores = criteria_scores(x, received, size, taus)
    return match_behind_prefix(scores, num_protected, partial(match, r=num_removed))


@torch.library.custom_op("onedpiece::mctf_plan", mutates_args=())
def _plan_op(
    x: Tensor,
    received: Tensor,
    size: Tensor,
    num_removed: int,
    tau_sim: float,
    tau_info: float,
    tau_size: float,
    bidirectional: bool,
    num_protected: int,
) -> tuple[Tensor, Tensor, Tensor]:
    taus = (tau_sim, tau_info, tau_size)
    groups = _plan(x, received, size, num_removed, taus, bidirectional, num_protected)
    return groups.keep, groups.moved, groups.into


@_plan_op.register_fake
def _(x: Tensor, _received: Tensor, _size: Tensor, num_removed: int, *_: object) -> tuple[Tensor, ...]:
    counts = (x.shape[1] - num_removed, num_removed, num_removed)
    keep, moved, into = (x.new_empty(x.shape[0], count, dtype=torch.int64) for count in counts)
    return keep, moved, into


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


@dataclass(frozen=True)
class MctfReducer:
    """Multi-criteria token fusion in front of every active block (arXiv 2403.10030)."""

    r: Removal = 16  # tokens a layer; a part of the unprotected ones below 1 (Fast: 0.35 in layers 3, 6, 9)
    layers: Sequence[int] | None = (
        None  # from 0; None: all but the first, as published, or what a list `r` says
    )
    tau_sim: float = 1  # temperatures of the published DeiT runs; 0 switches a criterion off
    tau_info: float = 20
    tau_size: float = 40
    bidirectional: bool = True
    pooling: Pooling = "attention"
    proportional: bool = True  # log size over the keys, as in the published runs

    ragged: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_pooling(self.pooling)

    def active(self, layer: int, tokens: Tokens, layout: Layout) -> bool:
        """See `Reducer`."""
        return self._due(layer) and self._num_removed(layer, tokens, layout) > 0

    def alone(self, layer: int) -> "MctfReducer":
        """See `Uniform`."""
        return replace(self, r=r_of(self.r, layer), layers=(0,) if self._due(layer) else ())

    def _due(self, layer: int) -> bool:
        if self.layers is None:
            return layer > 0 or not isinstance(self.r, int | float)
        return layer in self.layers

    def step(self, layer: int, block: BlockAdapter, tokens: Tokens, layout: Layout) -> Tokens:
        """See `Reducer`."""
        if not self.active(layer, tokens, layout):
            return plain_step(block, tokens, self.proportional)
        size = sizes(tokens)
        q, k = block.project_queries_keys(block.normed(tokens.x), tokens.rotation)
        attn = attention_map(q, k, size_bias(size, q.dtype) if self.proportional else None)
        received = attention_received(attn)
        groups = self._plan(layer, tokens, received, size, layout)
        mixed = mixture(pooling_weights(received, size, self.pooling), groups)
        x = pool_max(tokens.x, groups) if self.pooling == "max" else mix(tokens.x, mixed)
        places = destinations(groups, attn.shape[-1])
        x = block.add_attention(x, mix(_attend(block, x, attn, places), mixed))
        return advance(tokens, block.add_mlp(x), groups)

    def _num_removed(self, layer: int, tokens: Tokens, layout: Layout) -> int:
        num_tokens = tokens.x.shape[1] - layout.tail
        return num_removable(num_tokens, layout.prefix, r_of(self.r, layer), MIN_TOKENS)

    def _plan(self, layer: int, tokens: Tokens, received: Tensor, size: Tensor, layout: Layout) -> Groups:
        groups = plan(
            front(tokens.x, layout),
            front(received, layout),
            front(size, layout),
            self._num_removed(layer, tokens, layout),
            (self.tau_sim, self.tau_info, self.tau_size),
            self.bidirectional,
            layout.prefix,
        )
        return with_tail(groups, tokens.x.shape[1], layout)


def _attend(block: BlockAdapter, x: Tensor, attn: Tensor, places: Tensor) -> Tensor:
    """Let the old queries (B, N) look at the fused stream x (B, K, C): (B, N, H·D).

    Multiplies by the fused attention map without building it: to sum keys is to repeat values, and the
    mean of queries is the mean of their results, which the caller takes. Two row gathers take the place
    of two products with a (K, N) matrix per head.
    """
    values = take_rows(block.project_values(block.normed(x)), places)
    heads = attn.shape[1]
    values = values.view(*values.shape[:2], heads, values.shape[2] // heads).transpose(1, 2)
    attn = F.dropout(attn, block.attention_dropout()) if block.attention_dropout() else attn
    return merge_heads(attn.to(values.dtype) @ values)
