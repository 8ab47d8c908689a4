"""What a reducer may ask of a transformer block, whoever wrote it, and the steps that all reducers share.

Attention over tokens of unequal size, and from one state between two blocks to the next, given the groups.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.retokenize.groups import Groups, append_tail, compose, pool_sum, pool_weighted, source_map


class Layout(NamedTuple):
    """Which tokens of the sequence may be reduced, and which say what is important.

    Attributes:
        prefix: tokens at the front that pass untouched (class, distillation, register tokens).
        tail: tokens at the end that pass untouched (the latents of our encoder).
        score_tokens: the tokens whose attention ranks the others: the class token where there is one, our
            latents, else all.
        pad: whether the model counts its tail from the front, and so needs zeros for the missing tokens.
    """

    prefix: int
    tail: int
    score_tokens: slice
    pad: bool = False


class Projected(NamedTuple):
    """Queries, keys and values of one block, each (B, H, N, D); queries not scaled."""

    q: Tensor
    k: Tensor
    v: Tensor


class BlockAdapter(Protocol):
    """One pre-norm block, taken apart along its residual branches."""

    module: nn.Module

    def run(self, x: Tensor, rotation: Tensor | None = None) -> Tensor:
        """Run the block as it is: (B, N, C) to (B, N, C)."""
        ...

    def normed(self, x: Tensor) -> Tensor:
        """Apply the norm in front of attention: (B, N, C) to (B, N, C)."""
        ...

    def project(self, normed: Tensor, rotation: Tensor | None = None) -> Projected:
        """Queries, keys and values of a normed stream (B, N, C), turned by rotary positions."""
        ...

    def project_queries_keys(self, normed: Tensor, rotation: Tensor | None = None) -> tuple[Tensor, Tensor]:
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
        rotation: sines and cosines of rotary positions, (N - prefix, 2·D) as the model gives them or
            (B, 1, N - prefix, 2·D) once tokens are merged; None without.
    """

    x: Tensor
    origin: int
    size: Tensor | None = None
    source: Tensor | None = None
    rotation: Tensor | None = None


class Reducer(Protocol):
    """A method's way through one block."""

    @property
    def ragged(self) -> bool:
        """Whether the number of tokens left depends on the picture."""
        ...

    def active(self, layer: int, tokens: Tokens, layout: Layout) -> bool:
        """Whether block number `layer` (from 0) will remove anything."""
        ...

    def step(self, layer: int, block: BlockAdapter, tokens: Tokens, layout: Layout) -> Tokens:
        """Run block number `layer` on `tokens`, reducing them where it is active."""
        ...


@runtime_checkable
class Uniform(Protocol):
    """A reducer that does the same in each of its layers, to however many tokens there are left."""

    def alone(self, layer: int) -> Reducer:
        """Return a reducer that does in layer 0 what this one does in `layer`; equal where that is equal."""
        ...


def size_bias(size: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Proportional attention: log size over the keys, (B, N, 1) to (B, 1, 1, N); padding becomes -∞.

    Reference: ToMe, arXiv 2210.09461, equation 1.
    """
    if size is None:
        return None
    bias: Tensor = size[..., 0].log().to(dtype)[:, None, None, :]
    return bias


def attention_map(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax over the keys: q (B, H, Q, D), k (B, H, N, D), bias broadcastable, give (B, H, Q, N)."""
    scale: float = q.shape[-1] ** -0.5
    if bias is None:
        return ((q * scale) @ k.transpose(-2, -1)).softmax(dim=-1)
    # Scale and bias inside of the product: a map is the largest tensor of a block, and passes over it show.
    batch, heads, queries, keys = *q.shape[:3], k.shape[2]
    offset = bias.expand(batch, heads, -1, keys).reshape(batch * heads, bias.shape[2], keys)
    pairs = q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)
    logits: Tensor = torch.baddbmm(offset, *pairs, alpha=scale)
    return logits.view(batch, heads, queries, keys).softmax(dim=-1)


def importance(q: Tensor, k: Tensor, bias: Tensor | None, score_tokens: slice) -> Tensor:
    """Return the mean attention that `score_tokens` pay to each token, over heads: (B, N), float32."""
    return attention_map(q[:, :, score_tokens], k, bias).mean(dim=(1, 2), dtype=torch.float32)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, N, D) to (B, N, H·D)."""
    return x.transpose(1, 2).flatten(2)


def attend(block: BlockAdapter, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Fused attention: q, k, v (B, H, N, D) give (B, N, H·D); no map is materialised."""
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=block.attention_dropout())
    return merge_heads(out)


def plain_step(block: BlockAdapter, tokens: Tokens, proportional: bool) -> Tokens:
    """Run a block without reducing anything; bit for bit the original while every size is one."""
    if tokens.size is None or not proportional:
        return tokens._replace(x=block.run(tokens.x, tokens.rotation))
    projected = block.project(block.normed(tokens.x), tokens.rotation)
    attended = attend(block, *projected, size_bias(tokens.size, projected.q.dtype))
    return tokens._replace(x=block.add_mlp(block.add_attention(tokens.x, attended)))


def sizes(tokens: Tokens) -> Tensor:
    """The sizes of the tokens, ones where none were merged yet: (B, N, 1) float32."""
    if tokens.size is not None:
        return tokens.size
    return torch.ones(*tokens.x.shape[:2], 1, device=tokens.x.device)


def front(values: Tensor, layout: Layout) -> Tensor:
    """Cut the tail off (B, N, ...)."""
    return values[:, : values.shape[1] - layout.tail]


def with_tail(groups: Groups, num_tokens: int, layout: Layout) -> Groups:
    """Let the tail of a sequence of `num_tokens` pass behind groups that were formed without it."""
    return append_tail(groups, num_tokens - layout.tail, layout.tail) if layout.tail else groups


def num_free(num_tokens: int, layout: Layout) -> int:
    """How many of `num_tokens` may be reduced."""
    return num_tokens - layout.prefix - layout.tail


def advance(tokens: Tokens, x: Tensor, groups: Groups) -> Tokens:
    """Pair the pooled stream x (B, K, C) with the sizes and, if it is being traced, the source map."""
    source = tokens.source
    if source is not None:
        source = compose(source_map(groups, source.shape[1], source.dtype), source)
    rotation = None if tokens.rotation is None else _rotation_behind(tokens, tokens.rotation, groups)
    return Tokens(x, tokens.origin, pool_sum(sizes(tokens)[..., 0], groups)[..., None], source, rotation)


def _rotation_behind(tokens: Tokens, rotation: Tensor, groups: Groups) -> Tensor:
    """Turn each group by the mean of its rotations, weighted by size: (B, 1, K - prefix, 2·D)."""
    batch, count, _ = tokens.x.shape
    each = rotation.expand(batch, -1, -1) if rotation.ndim == 2 else rotation[:, 0]
    prefix = count - each.shape[1]
    mixed = pool_weighted(F.pad(each, (0, 0, prefix, 0)), sizes(tokens)[..., 0], groups)
    return mixed[:, prefix:].unsqueeze(1)


def split(tokens: Tokens, count: int) -> list[Tokens]:
    """Cut a batch into states of at most `count` samples."""
    parts = []
    for start in range(0, tokens.x.shape[0], count):
        some = slice(start, start + count)
        size = None if tokens.size is None else tokens.size[some]
        source = None if tokens.source is None else tokens.source[some]
        rotation = tokens.rotation
        rotation = rotation if rotation is None or rotation.ndim == 2 else rotation[some]
        parts.append(Tokens(tokens.x[some], tokens.origin, size, source, rotation))
    return parts


def concatenate(parts: list[Tokens]) -> Tokens:
    """Join what `split` has cut, as long as all parts have equally many tokens."""
    size = [part.size for part in parts if part.size is not None]
    source = [part.source for part in parts if part.source is not None]
    return Tokens(
        torch.cat([part.x for part in parts]),
        parts[0].origin,
        torch.cat(size) if size else None,
        torch.cat(source) if source else None,
    )
