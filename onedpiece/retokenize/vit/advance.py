"""From one state between two blocks to the next, given the groups."""

import torch
from torch import Tensor

from onedpiece.retokenize.groups import Groups, append_tail, pool_sum, source_map
from onedpiece.retokenize.reduction import compose
from onedpiece.retokenize.vit.view import Layout, Tokens


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
    return Tokens(x, tokens.origin, pool_sum(sizes(tokens)[..., 0], groups)[..., None], source)


def split(tokens: Tokens, count: int) -> list[Tokens]:
    """Cut a batch into states of at most `count` samples."""
    parts = []
    for start in range(0, tokens.x.shape[0], count):
        some = slice(start, start + count)
        size = None if tokens.size is None else tokens.size[some]
        source = None if tokens.source is None else tokens.source[some]
        parts.append(Tokens(tokens.x[some], tokens.origin, size, source))
    return parts


def concatenate(parts: list[Tokens]) -> Tokens:
    """Join states of equally many tokens to one batch."""
    sizes = [part.size for part in parts if part.size is not None]
    sources = [part.source for part in parts if part.source is not None]
    return Tokens(
        torch.cat([part.x for part in parts]),
        parts[0].origin,
        torch.cat(sizes) if sizes else None,
        torch.cat(sources) if sources else None,
    )
