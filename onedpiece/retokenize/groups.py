"""Groups of tokens in index form: who stays, who joins whom, and the pooling inside a group.

Index form because only the few moved rows cost arithmetic; a (B, K, N) matrix product would cost more
than the attention that the reduction saves. Also what every reducer returns, and how to go back: the source
map, its composition, unmerging.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Groups(NamedTuple):
    """An assignment of N inputs to K outputs; an input in neither list is discarded.

    Attributes:
        keep: (B, K) int64, the input whose place output k takes, in output order.
        moved: (B, R) int64, the inputs that join another one.
        into: (B, R) int64, in [0, K), the output that each of them joins.
    """

    keep: Tensor
    moved: Tensor
    into: Tensor


class Mixture(NamedTuple):
    """Groups with their pooling weights, prepared for use on several streams; indices into B·N rows.

    Attributes:
        keep: (B·K,) int64, input rows.
        moved: (B·R,) int64, input rows.
        into: (B·R,) int64, output rows.
        staying: (B·K, 1), the weight of a kept token in its group's mean.
        joining: (B·R, 1), that of a moved one.
        outputs: K.
    """

    keep: Tensor
    moved: Tensor
    into: Tensor
    staying: Tensor
    joining: Tensor
    outputs: int


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """Gather tokens per sample: x (B, N, C), index (B, K) gives (B, K, C)."""
    # index_select copies whole rows; gather with an expanded index walks single elements.
    rows = x.reshape(-1, x.shape[-1]).index_select(0, _flat(index, x.shape[1]))
    return rows.view(*index.shape, x.shape[-1])


def keep_only(keep: Tensor) -> Groups:
    """Keep the inputs of (B, K) and discard all others."""
    nothing = keep[:, :0]
    return Groups(keep, nothing, nothing)


def keep_all(x: Tensor) -> Groups:
    """Keep every token of x (B, N, ...) where it is."""
    return keep_only(torch.arange(x.shape[1], device=x.device).expand(x.shape[:2]))


def join(num_tokens: int, moved: Tensor, targets: Tensor) -> Groups:
    """Let the inputs `moved` (B, R) join the inputs `targets` (B, R); all others stay, by position.

    No target may itself be moved.
    """
    batch, count = moved.shape
    positions = torch.arange(num_tokens, device=moved.device).expand(batch, num_tokens)
    # Those that leave go behind all others; no two values are equal, and ONNX has no stable sort.
    keep = positions.scatter(1, moved, moved + num_tokens).sort(dim=1).values[:, : num_tokens - count]
    return Groups(keep, moved, _places(keep, num_tokens).gather(1, targets))


def prepend_prefix(groups: Groups, count: int) -> Groups:
    """Let `count` more inputs pass in front of everything in `groups`."""
    if count == 0:
        return groups
    batch = groups.keep.shape[0]
    prefix = torch.arange(count, device=groups.keep.device).expand(batch, count)
    return Groups(torch.cat([prefix, groups.keep + count], dim=1), groups.moved + count, groups.into + count)


def append_tail(groups: Groups, start: int, count: int) -> Groups:
    """Let `count` more inputs, the first of them at index `start`, pass behind the outputs of `groups`."""
    batch = groups.keep.shape[0]
    tail = torch.arange(start, start + count, device=groups.keep.device).expand(batch, count)
    return groups._replace(keep=torch.cat([groups.keep, tail], dim=1))


def pool_sum(values: Tensor, groups: Groups) -> Tensor:
    """Sum a value per token inside each group: (B, N) gives (B, K)."""
    kept = values.gather(1, groups.keep)
    return kept.scatter_add(1, groups.into, values.gather(1, groups.moved))


def mixture(weights: Tensor, groups: Groups) -> Mixture:
    """Prepare the weighted mean of each group for weights (B, N) ≥ 0."""
    keep, moved = (_flat(index, weights.shape[1]) for index in (groups.keep, groups.moved))
    into = _flat(groups.into, groups.keep.shape[1])
    flat = weights.reshape(-1)
    staying, joining = flat.index_select(0, keep), flat.index_select(0, moved)
    total = staying.index_add(0, into, joining)
    shares = (staying / total)[:, None], (joining / total.index_select(0, into))[:, None]
    return Mixture(keep, moved, into, *shares, outputs=groups.keep.shape[1])


def mix(x: Tensor, mixed: Mixture) -> Tensor:
    """Take the weighted mean of each group: x (B, N, C) gives (B, K, C)."""
    rows = x.reshape(-1, x.shape[-1])
    pooled = rows.index_select(0, mixed.keep) * mixed.staying.to(x.dtype)
    joining = rows.index_select(0, mixed.moved) * mixed.joining.to(x.dtype)
    # In place on a fresh product, whose gradient does not need it.
    return pooled.index_add_(0, mixed.into, joining).view(x.shape[0], mixed.outputs, x.shape[-1])


def pool_weighted(x: Tensor, weights: Tensor, groups: Groups) -> Tensor:
    """Take the weighted mean of each group: x (B, N, C), weights (B, N) ≥ 0 give (B, K, C)."""
    return mix(x, mixture(weights, groups))


def pool_max(x: Tensor, groups: Groups) -> Tensor:
    """Take the maximum of each group, channel by channel: (B, N, C) gives (B, K, C)."""
    index = groups.into[..., None].expand(-1, -1, x.shape[-1])
    return take_rows(x, groups.keep).scatter_reduce(1, index, take_rows(x, groups.moved), "amax")


def destinations(groups: Groups, num_tokens: int) -> Tensor:
    """Say for each of the N inputs which output it is in: (B, N) int64, -1 where it was discarded."""
    return _places(groups.keep, num_tokens).scatter(1, groups.moved, groups.into)


def source_map(groups: Groups, num_tokens: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Write the groups as a source map: (B, K, N) of 0 and 1."""
    batch, kept = groups.keep.shape
    outputs = torch.arange(kept, device=groups.keep.device).view(1, kept, 1)
    return (destinations(groups, num_tokens).view(batch, 1, num_tokens) == outputs).to(dtype)


def _places(keep: Tensor, num_tokens: int) -> Tensor:
    batch, kept = keep.shape
    places = torch.arange(kept, device=keep.device).expand(batch, kept)
    return keep.new_full((batch, num_tokens), -1).scatter_(1, keep, places)


def _flat(index: Tensor, stride: int) -> Tensor:
    offset = torch.arange(index.shape[0], device=index.device).mul_(stride)
    return (index + offset[:, None]).view(-1)


class Reduction(NamedTuple):
    """Fewer tokens, and where each of them came from.

    Attributes:
        x: (B, K, C), the tokens that are left.
        size: (B, K, 1), how many original tokens each of them stands for; 0 marks padding.
        source: (B, K, N), the part of input n in output k: 0 or 1 for merging, in [0, 1] for soft
            slimming. The column of a discarded input is zero.
    """

    x: Tensor
    size: Tensor
    source: Tensor


class Fusion(NamedTuple):
    """A reduction that fused the attention map as well (MCTF's one-step-ahead attention).

    Attributes:
        x: (B, K, C), the tokens that are left.
        size: (B, K, 1), how many original tokens each of them stands for.
        attn: (B, H, K, K), the fused attention map; rows still sum to one.
        source: (B, K, N), 0 or 1, which input went where.
    """

    x: Tensor
    size: Tensor
    attn: Tensor
    source: Tensor


def compose(later: Tensor, earlier: Tensor) -> Tensor:
    """Chain two source maps: (B, L, K) after (B, K, N) gives (B, L, N)."""
    return later.to(earlier.dtype) @ earlier


def unmerge(x: Tensor, source: Tensor) -> Tensor:
    """Give every original position the token that it went into, as dense heads need it.

    x: (B, K, C); source: (B, K, N). Returns (B, N, C). A position whose token was discarded is zero;
    one that soft slimming spread over several tokens gets their mean, weighted by its shares.
    """
    shares = source / source.sum(dim=1, keepdim=True).clamp_min(torch.finfo(source.dtype).tiny)
    return shares.transpose(1, 2).to(x.dtype) @ x
