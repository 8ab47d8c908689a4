"""EViT in a block: attend, keep the attentive tokens and fuse the rest, then the MLP."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from onedpiece.retokenize import evit
from onedpiece.retokenize.groups import pool_weighted
from onedpiece.retokenize.vit.advance import advance, front, num_free, with_tail
from onedpiece.retokenize.vit.attention import attend, importance, plain_step, size_bias
from onedpiece.retokenize.vit.view import BlockView, Layout, Tokens


@dataclass(frozen=True)
class EvitReducer:
    """Attentive token reorganization in a few blocks (arXiv 2202.07800)."""

    keep: float = 0.7  # share of the unprotected tokens that an active layer keeps; 0.7 is the paper's row
    layers: Sequence[int] = (3, 6, 9)  # counted from 0: the paper's 4th, 7th and 10th
    proportional: bool = False  # the paper has no log size over the keys

    ragged: ClassVar[bool] = False

    def active(self, layer: int, tokens: Tokens, layout: Layout) -> bool:
        """See `Reducer`."""
        free = num_free(tokens.x.shape[1], layout)
        # To fuse one token with nothing would cost a layer's work and change nothing.
        return layer in self.layers and free - evit.num_kept(free, self.keep) > 1

    def step(self, layer: int, view: BlockView, tokens: Tokens, layout: Layout) -> Tokens:
        """See `Reducer`."""
        if not self.active(layer, tokens, layout):
            return plain_step(view, tokens, self.proportional)
        q, k, v = view.project(view.normed(tokens.x))
        bias = size_bias(tokens.size, q.dtype) if self.proportional else None
        rank = importance(q, k, bias, layout.judges)
        x = view.add_attention(tokens.x, attend(view, q, k, v, bias))
        kept = evit.num_kept(num_free(x.shape[1], layout), self.keep)
        groups = with_tail(evit.plan(front(rank, layout), kept, layout.prefix), x.shape[1], layout)
        fused = pool_weighted(x, evit.fusion_weights(rank), groups)
        return advance(tokens, view.add_mlp(fused), groups)
