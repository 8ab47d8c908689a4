"""MustDrop's encoder stage in a block: after its MLP, merge the flat windows."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from onedpiece.retokenize import mustdrop
from onedpiece.retokenize.reduction import Reduction, compose
from onedpiece.retokenize.vit.advance import num_free
from onedpiece.retokenize.vit.attention import attend, size_bias
from onedpiece.retokenize.vit.view import BlockView, Layout, Tokens


@dataclass(frozen=True)
class MustdropReducer:
    """Window merging in a vision encoder (arXiv 2411.10803).

    How many tokens are left depends on the picture: a batch is padded to its widest sample, and the
    padding, of size 0, is invisible to attention.
    """

    layer: int = 0  # counted from 0; the paper merges once, behind the first layer
    window: int = 3  # patches a side
    threshold: float = 0.8  # mean pairwise cosine from which on a window is flat
    grid: tuple[int, int] | None = None  # rows and columns of patches; None: a square
    proportional: bool = True  # log size over the keys, since sizes differ by up to window²

    ragged: ClassVar[bool] = True

    @property
    def layers(self) -> list[int]:
        """The one layer that does something."""
        return [self.layer]

    def active(self, layer: int, tokens: Tokens, layout: Layout) -> bool:
        """See `Reducer`."""
        return layer == self.layer

    def step(self, layer: int, view: BlockView, tokens: Tokens, layout: Layout) -> Tokens:
        """See `Reducer`."""
        tokens = tokens._replace(x=self._run(view, tokens))
        if not self.active(layer, tokens, layout):
            return tokens
        body = tokens.x.shape[1] - layout.tail
        grid = self.grid or _square(num_free(tokens.x.shape[1], layout))
        merged = mustdrop.merge_windows(
            tokens.x[:, :body], grid, None, self.window, self.threshold, layout.prefix
        )
        return _append_tail(tokens, merged, layout.tail)

    def _run(self, view: BlockView, tokens: Tokens) -> Tensor:
        if tokens.size is None:
            out: Tensor = view.block(tokens.x)
            return out
        q, k, v = view.project(view.normed(tokens.x))
        visible = tokens.size if self.proportional else tokens.size > 0
        x = view.add_attention(tokens.x, attend(view, q, k, v, size_bias(visible, q.dtype)))
        return view.add_mlp(x)


def _square(num_patches: int) -> tuple[int, int]:
    side = math.isqrt(num_patches)
    if side * side != num_patches:
        raise ValueError(f"{num_patches} patches form no square; give grid=(rows, columns)")
    return side, side


def _append_tail(tokens: Tokens, merged: Reduction, tail: int) -> Tokens:
    start = tokens.x.shape[1] - tail
    size = F.pad(merged.size, (0, 0, 0, tail), value=1.0)
    source = tokens.source
    if source is not None:
        step = F.pad(merged.source, (0, tail, 0, tail))
        step[:, step.shape[1] - tail :, start:] = torch.eye(tail, device=step.device)
        source = compose(step, source)
    return Tokens(torch.cat([merged.x, tokens.x[:, start:]], dim=1), tokens.origin, size, source)
