"""ToMe, token merging (arXiv 2210.09461), written from the paper: the function, and its reducer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
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
    plain_step,
    size_bias,
    sizes,
    with_tail,
)
from onedpiece.retokenize.groups import Groups, Reduction, keep_all, pool_sum, pool_weighted, source_map
from onedpiece.retokenize.matching import (
    Removal,
    behind_prefix,
    cosine_scores,
    match_behind_prefix,
    match_one_way,
    num_removable,
    r_of,
)


def merge(
    x: Tensor, metric: Tensor, size: Tensor | None = None, r: float = 16, num_protected: int = 1
) -> Reduction:
    """Merge the `r` most similar even-odd pairs of tokens, weighted by their sizes.

    x: (B, N, C); metric: (B, N, D), what similarity is measured on, usually the keys averaged over the
    heads; size: (B, N, 1), ones where not given. `r` below 1 is a share of the unprotected tokens; at
    most half of those go. The first `num_protected` tokens never take part.

    Raises:
        ValueError: `r` is negative.

    Reference: arXiv 2210.09461, section 3.2 and appendix D.
    """
    size = x.new_ones(*x.shape[:2], 1) if size is None else size
    groups = plan(metric, num_removable(x.shape[1], num_protected, r), num_protected)
    merged, merged_size = pool(x, size, groups)
    return Reduction(merged, merged_size, source_map(groups, x.shape[1], x.dtype))


@torch.no_grad()
def plan(metric: Tensor, num_removed: int, num_protected: int = 1) -> Groups:
    """Choose who is merged with whom by the metric (B, N, D)."""
    if num_removed == 0:
        return keep_all(metric)
    scores = cosine_scores(behind_prefix(metric, num_protected)).float()
    # Without a protected token the order of what is left means nothing, and the authors leave it by score.
    match = partial(match_one_way, r=num_removed, sort_kept=num_protected > 0)
    return match_behind_prefix(scores, num_protected, match)


def pool(x: Tensor, size: Tensor, groups: Groups) -> tuple[Tensor, Tensor]:
    """Pool tokens (B, N, C) by their sizes (B, N, 1); returns the tokens and sizes that are left."""
    return pool_weighted(x, size[..., 0], groups), pool_sum(size[..., 0], groups)[..., None]


@dataclass(frozen=True)
class TomeReducer:
    """Token merging between attention and MLP of every active block (arXiv 2210.09461)."""

    r: Removal = 13  # tokens a layer; a part of the unprotected ones below 1. 13 is the paper's DeiT-S row
    layers: Sequence[int] | None = None  # counted from 0; None: all, as published
    proportional: bool = True  # log size over the keys, the paper's equation 1

    ragged: ClassVar[bool] = False

    def active(self, layer: int, tokens: Tokens, layout: Layout) -> bool:
        """See `Reducer`."""
        return self._due(layer) and self._num_removed(layer, tokens, layout) > 0

    def alone(self, layer: int) -> "TomeReducer":
        """See `Uniform`."""
        return replace(self, r=r_of(self.r, layer), layers=(0,) if self._due(layer) else ())

    def _due(self, layer: int) -> bool:
        return self.layers is None or layer in self.layers

    def step(self, layer: int, block: BlockAdapter, tokens: Tokens, layout: Layout) -> Tokens:
        """See `Reducer`."""
        if not self.active(layer, tokens, layout):
            return plain_step(block, tokens, self.proportional)
        q, k, v = block.project(block.normed(tokens.x), tokens.rotation)
        bias = size_bias(tokens.size, q.dtype) if self.proportional else None
        x = block.add_attention(tokens.x, attend(block, q, k, v, bias))
        groups = plan(front(k.mean(dim=1), layout), self._num_removed(layer, tokens, layout), layout.prefix)
        groups = with_tail(groups, x.shape[1], layout)
        merged = pool_weighted(x, sizes(tokens)[..., 0], groups)
        return advance(tokens, block.add_mlp(merged), groups)

    def _num_removed(self, layer: int, tokens: Tokens, layout: Layout) -> int:
        return num_removable(tokens.x.shape[1] - layout.tail, layout.prefix, r_of(self.r, layer))
