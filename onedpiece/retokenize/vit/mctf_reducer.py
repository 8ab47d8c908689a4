"""MCTF in a block: fuse first, then attend with the fused attention map (one step ahead)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from onedpiece.retokenize import mctf
from onedpiece.retokenize.groups import Groups, destinations, mix, mixture, pool_max, take_rows
from onedpiece.retokenize.matching import num_removable
from onedpiece.retokenize.vit.advance import advance, front, sizes, with_tail
from onedpiece.retokenize.vit.attention import attention_map, merge_heads, plain_step, size_bias
from onedpiece.retokenize.vit.view import BlockView, Layout, Tokens


@dataclass(frozen=True)
class MctfReducer:
    """Multi-criteria token fusion in front of every active block (arXiv 2403.10030)."""

    r: float = 16  # tokens a layer; a share of the unprotected ones below 1 (Fast: 0.35 in layers 3, 6, 9)
    layers: Sequence[int] | None = None  # counted from 0; None: all but the first, as published
    tau_sim: float = 1  # temperatures of the published DeiT runs; 0 switches a criterion off
    tau_info: float = 20
    tau_size: float = 40
    bidirectional: bool = True
    pooling: mctf.Pooling = "attention"
    proportional: bool = True  # log size over the keys, as in the published runs

    ragged: ClassVar[bool] = False

    def __post_init__(self) -> None:
        mctf.check_pooling(self.pooling)

    def active(self, layer: int, tokens: Tokens, layout: Layout) -> bool:
        """See `Reducer`."""
        due = layer > 0 if self.layers is None else layer in self.layers
        return due and self._num_removed(tokens, layout) > 0

    def step(self, layer: int, view: BlockView, tokens: Tokens, layout: Layout) -> Tokens:
        """See `Reducer`."""
        if not self.active(layer, tokens, layout):
            return plain_step(view, tokens, self.proportional)
        size = sizes(tokens)
        q, k = view.project_queries_keys(view.normed(tokens.x))
        attn = attention_map(q, k, size_bias(size, q.dtype) if self.proportional else None)
        received = mctf.attention_received(attn)
        groups = self._plan(tokens, received, size, layout)
        mixed = mixture(mctf.pooling_weights(received, size, self.pooling), groups)
        x = pool_max(tokens.x, groups) if self.pooling == "max" else mix(tokens.x, mixed)
        places = destinations(groups, attn.shape[-1])
        x = view.add_attention(x, mix(_attend(view, x, attn, places), mixed))
        return advance(tokens, view.add_mlp(x), groups)

    def _num_removed(self, tokens: Tokens, layout: Layout) -> int:
        num_tokens = tokens.x.shape[1] - layout.tail
        return num_removable(num_tokens, layout.prefix, self.r, mctf.MIN_TOKENS)

    def _plan(self, tokens: Tokens, received: Tensor, size: Tensor, layout: Layout) -> Groups:
        groups = mctf.plan(
            front(tokens.x, layout),
            front(received, layout),
            front(size, layout),
            self._num_removed(tokens, layout),
            (self.tau_sim, self.tau_info, self.tau_size),
            self.bidirectional,
            layout.prefix,
        )
        return with_tail(groups, tokens.x.shape[1], layout)


def _attend(view: BlockView, x: Tensor, attn: Tensor, places: Tensor) -> Tensor:
    """Let the old queries (B, N) look at the fused stream x (B, K, C): (B, N, H·D).

    Multiplies by the fused attention map without building it: to sum keys is to repeat values, and the
    mean of queries is the mean of their results, which the caller takes. Two row gathers take the place
    of two products with a (K, N) matrix per head.
    """
    values = take_rows(view.project_values(view.normed(x)), places)
    values = values.view(*values.shape[:2], attn.shape[1], -1).transpose(1, 2)
    attn = F.dropout(attn, view.attention_dropout()) if view.attention_dropout() else attn
    return merge_heads(attn.to(values.dtype) @ values)
