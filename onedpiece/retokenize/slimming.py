"""SiT, self-slimmed vision transformer (arXiv 2111.12624): soft slimming, and its reverse for training.

`SlimmingReducer` stands in front of a block; it is the one reducer with weights of its own.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from onedpiece.retokenize.block import BlockAdapter, Layout, Tokens, plain_step, sizes
from onedpiece.retokenize.evit import num_kept
from onedpiece.retokenize.groups import Reduction, compose


def slim(x: Tensor, logits: Tensor, size: Tensor | None = None) -> Reduction:
    """Mix N tokens down to K by softmax weights over the tokens.

    x: (B, N, C); logits: (B, N, K); size: (B, N, 1), ones where not given. The sizes of the outputs
    still add up to those of the inputs.

    Reference: arXiv 2111.12624, equation 4.
    """
    source = logits.softmax(dim=1).transpose(1, 2)
    size = source.new_ones(*x.shape[:2], 1) if size is None else size
    shares = source / source.sum(dim=1, keepdim=True).clamp_min(torch.finfo(source.dtype).tiny)
    return Reduction(source.to(x.dtype) @ x, shares @ size.to(source.dtype), source)


class TokenSlimming(nn.Module):
    """SiT's token slimming module (TSM): N tokens to `keep`, for any N.

    Args:
        dim: channels of a token.
        keep: how many tokens are left.
    """

    def __init__(self, dim: int, keep: int) -> None:
        super().__init__()
        self.keep = keep
        self.weight = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, keep)
        )
        self.scale = nn.Parameter(torch.ones(1, 1, 1))

    def forward(self, x: Tensor, size: Tensor | None = None) -> Reduction:
        """Slim x (B, N, C) of sizes (B, N, 1) to (B, keep, C)."""
        return slim(x, self.scale * self.weight(x), size)


class ReverseSlimming(nn.Module):
    """SiT's reverse token slimming module (RTSM): `keep` tokens back to `num_tokens`; for training only.

    A token-mixing MLP (keep → 4N → N) on normed tokens, then a residual channel MLP.

    Args:
        dim: channels of a token.
        keep: how many tokens come in.
        num_tokens: how many tokens go out.
    """

    def __init__(self, dim: int, keep: int, num_tokens: int) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(dim)
        self.mix_tokens = _mlp(keep, 4 * num_tokens, num_tokens)
        self.norm_channels = nn.LayerNorm(dim)
        self.mix_channels = _mlp(dim, 4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Recover (B, num_tokens, C) from x (B, keep, C)."""
        mixed = self.mix_tokens(self.norm_tokens(x).transpose(1, 2)).transpose(1, 2)
        out: Tensor = mixed + self.mix_channels(self.norm_channels(mixed))
        return out


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


class SlimmingReducer(nn.Module):
    """Soft token slimming in front of a few blocks (arXiv 2111.12624); needs training.

    Args:
        dim: channels of a token.
        num_tokens: unprotected tokens that go into the first block.
        keep_rate: part of them that a stage leaves, rounded up; the paper halves: 196 → 98 → 49 → 24.
        layers: the blocks in front of which a stage begins, counted from 0.
    """

    ragged: ClassVar[bool] = False

    def __init__(
        self, dim: int, num_tokens: int, keep_rate: float = 0.5, layers: Sequence[int] = (3, 6, 9)
    ) -> None:
        super().__init__()
        self.keep_rate, self.layers = keep_rate, tuple(layers)
        self.stages = nn.ModuleDict()
        for layer in sorted(self.layers):
            num_tokens = num_kept(num_tokens, keep_rate)
            self.stages[str(layer)] = TokenSlimming(dim, num_tokens)

    def active(self, layer: int, tokens: Tokens, layout: Layout) -> bool:
        """See `Reducer`."""
        return layer in self.layers

    def step(self, layer: int, block: BlockAdapter, tokens: Tokens, layout: Layout) -> Tokens:
        """See `Reducer`."""
        if tokens.rotation is not None:
            raise ValueError("slimming mixes every place, and rotary positions do not follow; choose another")
        if self.active(layer, tokens, layout):
            tokens = self._slim(layer, tokens, layout)
        return plain_step(block, tokens, proportional=False)

    def _slim(self, layer: int, tokens: Tokens, layout: Layout) -> Tokens:
        first, last = layout.prefix, tokens.x.shape[1] - layout.tail
        x, size = tokens.x, sizes(tokens)
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
