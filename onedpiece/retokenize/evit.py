"""EViT, attentive token reorganization (arXiv 2202.07800): the function, and the reducer for a block."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from onedpiece.retokenize.block import (
    BlockAdapter,
    Layout,
    Tokens,
    advance,
    attend,
    front,
    importance,
    num_free,
    plain_step,
    size_bias,
    with_tail,
)
from onedpiece.retokenize.groups import Groups, Reduction, pool_sum, pool_weighted, source_map


def reorganize(
    x: Tensor, importance: Tensor, size: Tensor | None = None, keep_rate: float = 0.7, num_protected: int = 1
) -> Reduction:
    """Keep the most important tokens and fuse all others into one, the last.

    x: (B, N, C); importance: (B, N) ≥ 0, usually the class token's attention; size: (B, N, 1), ones where
    not given; keep_rate: the part of the unprotected tokens to keep, in (0, 1], or their number from 2 on.
    The first `num_protected` tokens stay whatever their importance. The fused token is the mean weighted by
    importance, where the authors take the plain weighted sum: a mean keeps the scale of a token.

    Raises:
        ValueError: `keep_rate` is not positive.

    Reference: arXiv 2202.07800, section 3.2.
    """
    size = x.new_ones(*x.shape[:2], 1) if size is None else size
    groups = plan(importance, num_kept(x.shape[1] - num_protected, keep_rate), num_protected)
    pooled_size = pool_sum(size[..., 0], groups)[..., None]
    source = source_map(groups, x.shape[1], x.dtype)
    return Reduction(pool_weighted(x, fusion_weights(importance), groups), pooled_size, source)


def num_kept(num_tokens: int, keep_rate: float) -> int:
    """Return how many of `num_tokens` to keep: ⌈keep_rate · n⌉ up to 1, `keep_rate` itself above.

    Raises:
        ValueError: `keep_rate` is not positive.
    """
    if keep_rate <= 0:
        raise ValueError(f"keep_rate is {keep_rate}; give a part in (0, 1] or a number of tokens")
    return min(math.ceil(round(keep_rate * num_tokens, 6)) if keep_rate <= 1 else int(keep_rate), num_tokens)


def fusion_weights(importance: Tensor) -> Tensor:
    """Importance as weights that cannot all be zero."""
    return importance.clamp_min(torch.finfo(importance.dtype).tiny)


@torch.no_grad()
def plan(importance: Tensor, kept: int, num_protected: int = 1) -> Groups:
    """Choose the `kept` most important of the unprotected tokens; the rest is one group behind them."""
    batch = importance.shape[0]
    prefix = torch.arange(num_protected, device=importance.device).expand(batch, num_protected)
    order = importance[:, num_protected:].argsort(dim=1, descending=True) + num_protected
    stay, rest = order[:, :kept].sort(dim=1).values, order[:, kept:]
    keep = torch.cat([prefix, stay, rest[:, :1]], dim=1)
    moved = rest[:, 1:]
    return Groups(keep, moved, torch.full_like(moved, keep.shape[1] - 1))


@dataclass(frozen=True)
class EvitReducer:
    """Attentive token reorganization in a few blocks (arXiv 2202.07800)."""

    keep_rate: float = (
        0.7  # part of the unprotected tokens that an active layer keeps; 0.7 is the paper's row
    )
    layers: Sequence[int] = (3, 6, 9)  # counted from 0: the paper's 4th, 7th and 10th
    proportional: bool = False  # the paper has no log size over the keys

    ragged: ClassVar[bool] = False

    def active(self, layer: int, tokens: Tokens, layout: Layout) -> bool:
        """See `Reducer`."""
        free = num_free(tokens.x.shape[1], layout)
        # To fuse one token with nothing would cost a layer's work and change nothing.
        return layer in self.layers and free - num_kept(free, self.keep_rate) > 1

    def step(self, layer: int, block: BlockAdapter, tokens: Tokens, layout: Layout) -> Tokens:
        """See `Reducer`."""
        if not self.active(layer, tokens, layout):
            return plain_step(block, tokens, self.proportional)
        q, k, v = block.project(block.normed(tokens.x), tokens.rotation)
        bias = size_bias(tokens.size, q.dtype) if self.proportional else None
        rank = importance(q, k, bias, layout.score_tokens)
        x = block.add_attention(tokens.x, attend(block, q, k, v, bias))
        kept = num_kept(num_free(x.shape[1], layout), self.keep_rate)
        groups = with_tail(plan(front(rank, layout), kept, layout.prefix), x.shape[1], layout)
        fused = pool_weighted(x, fusion_weights(rank), groups)
        return advance(tokens, block.add_mlp(fused), groups)
