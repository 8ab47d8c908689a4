"""SiT's slimming in front of a block; the one reducer with weights of its own."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from onedpiece.retokenize.evit import num_kept
from onedpiece.retokenize.reduction import compose
from onedpiece.retokenize.slimming import TokenSlimming
from onedpiece.retokenize.vit.attention import plain_step
from onedpiece.retokenize.vit.view import BlockView, Layout, Tokens


class SlimmingReducer(nn.Module):
    """Soft token slimming in front of a few blocks (arXiv 2111.12624); needs training.

    Args:
        dim: channels of a token.
        num_tokens: unprotected tokens that go into the first block.
        keep: share of them that a stage leaves; the paper halves, 196 → 98 → 49 → 24.
        layers: the blocks in front of which a stage begins, counted from 0.
    """

    ragged: ClassVar[bool] = False

    def __init__(
        self, dim: int, num_tokens: int, keep: float = 0.5, layers: Sequence[int] = (3, 6, 9)
    ) -> None:
        super().__init__()
        self.keep, self.layers = keep, tuple(layers)
        self.stages = nn.ModuleDict()
        for layer in sorted(self.layers):
            num_tokens = num_kept(num_tokens, keep)
            self.stages[str(layer)] = TokenSlimming(dim, num_tokens)

    def active(self, layer: int, tokens: Tokens, layout: Layout) -> bool:
        """See `Reducer`."""
        return layer in self.layers

    def step(self, layer: int, view: BlockView, tokens: Tokens, layout: Layout) -> Tokens:
        """See `Reducer`."""
        if self.active(layer, tokens, layout):
            tokens = self._slim(layer, tokens, layout)
        return plain_step(view, tokens, proportional=False)

    def _slim(self, layer: int, tokens: Tokens, layout: Layout) -> Tokens:
        first, last = layout.prefix, tokens.x.shape[1] - layout.tail
        x, size = tokens.x, tokens.size
        size = torch.ones(*x.shape[:2], 1, device=x.device) if size is None else size
        slimmed = self.stages[str(layer)](x[:, first:last], size[:, first:last])
        source = tokens.source
        if source is not None:
            middle = compose(slimmed.source, source[:, first:last])
            source = torch.cat([source[:, :first], middle, source[:, last:]], dim=1)
        return Tokens(
            torch.cat([x[:, :first], slimmed.x, x[:, last:]], dim=1),
            tokens.origin,
            torch.cat([size[:, :first], slimmed.size, size[:, last:]], dim=1),
            source,
        )
