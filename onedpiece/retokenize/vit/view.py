"""What a reducer may ask of a transformer block, whoever wrote the block."""

from typing import NamedTuple, Protocol

from torch import Tensor, nn


class Layout(NamedTuple):
    """Which tokens of the sequence may be reduced, and which say what is important.

    Attributes:
        prefix: tokens at the front that pass untouched (class, distillation, register tokens).
        tail: tokens at the end that pass untouched (the latents of our encoder).
        judges: the tokens whose attention ranks the others: the class token where there is one, our
            latents, else all.
        pad: whether the model counts its tail from the front, and so needs zeros for the missing tokens.
    """

    prefix: int
    tail: int
    judges: slice
    pad: bool = False


class Projected(NamedTuple):
    """Queries, keys and values of one block, each (B, H, N, D); queries not scaled."""

    q: Tensor
    k: Tensor
    v: Tensor


class BlockView(Protocol):
    """One pre-norm block, taken apart along its residual branches."""

    block: nn.Module

    def normed(self, x: Tensor) -> Tensor:
        """Apply the norm in front of attention: (B, N, C) to (B, N, C)."""
        ...

    def project(self, normed: Tensor) -> Projected:
        """Queries, keys and values of a normed stream (B, N, C)."""
        ...

    def project_queries_keys(self, normed: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys alone, each (B, H, N, D)."""
        ...

    def project_values(self, normed: Tensor) -> Tensor:
        """Values alone, (B, N, H·D): heads still side by side."""
        ...

    def add_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        """Finish the first branch: x (B, N, C) plus the projected `attended` (B, N, H·D)."""
        ...

    def add_mlp(self, x: Tensor) -> Tensor:
        """Run the second branch: (B, N, C) to (B, N, C)."""
        ...

    def attention_dropout(self) -> float:
        """Probability of dropping an entry of the attention map; 0 outside training."""
        ...


class Tokens(NamedTuple):
    """The state between two blocks.

    Attributes:
        x: (B, N, C).
        origin: N₀, the number of tokens that went into the first block.
        size: (B, N, 1) or None while every token is one patch.
        source: (B, N, N₀) or None when nobody asked for it.
    """

    x: Tensor
    origin: int
    size: Tensor | None = None
    source: Tensor | None = None


class Reducer(Protocol):
    """A method's way through one block."""

    @property
    def ragged(self) -> bool:
        """Whether the number of tokens left depends on the picture."""
        ...

    def active(self, layer: int, tokens: Tokens, layout: Layout) -> bool:
        """Whether block number `layer` (from 0) will remove anything."""
        ...

    def step(self, layer: int, view: BlockView, tokens: Tokens, layout: Layout) -> Tokens:
        """Run block number `layer` on `tokens`, reducing them where it is active."""
        ...
