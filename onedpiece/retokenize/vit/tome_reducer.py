"""ToMe in a block: attend, merge by key similarity, then the MLP."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from onedpiece.retokenize import tome
from onedpiece.retokenize.groups import pool_weighted
from onedpiece.retokenize.matching import num_removable
from onedpiece.retokenize.vit.advance import advance, front, sizes, with_tail
from onedpiece.retokenize.vit.attention import attend, plain_step, size_bias
from onedpiece.retokenize.vit.view import BlockView, Layout, Tokens


@dataclass(frozen=True)
class TomeReducer:
    """Token merging between attention and MLP of every active block (arXiv 2210.09461)."""

    r: float = 13  # tokens a layer; a share of the unprotected ones below 1. 13 is the paper's DeiT-S row
    layers: Sequence[int] | None = None  # counted from 0; None: all, as published
    proportional: bool = True  # log size over the keys, the paper's equation 1

    ragged: ClassVar[bool] = False

    def active(self, layer: int, tokens: Tokens, layout: Layout) -> bool:
        """See `Reducer`."""
        due = self.layers is None or layer in self.layers
        return due and self._num_removed(tokens, layout) > 0

    def step(self, layer: int, view: BlockView, tokens: Tokens, layout: Layout) -> Tokens:
        """See `Reducer`."""
        if not self.active(layer, tokens, layout):
            return plain_step(view, tokens, self.proportional)
        q, k, v = view.project(view.normed(tokens.x))
        bias = size_bias(tokens.size, q.dtype) if self.proportional else None
        x = view.add_attention(tokens.x, attend(view, q, k, v, bias))
        groups = tome.plan(front(k.mean(dim=1), layout), self._num_removed(tokens, layout), layout.prefix)
        groups = with_tail(groups, x.shape[1], layout)
        merged = pool_weighted(x, sizes(tokens)[..., 0], groups)
        return advance(tokens, view.add_mlp(merged), groups)

    def _num_removed(self, tokens: Tokens, layout: Layout) -> int:
        return num_removable(tokens.x.shape[1] - layout.tail, layout.prefix, self.r)
