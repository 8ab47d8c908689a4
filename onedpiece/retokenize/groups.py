"""Groups of tokens in index form: who stays, who joins whom, and the pooling inside a group.

Index form because only the few moved rows cost arithmetic; a (B, K, N) matrix product would cost more
than the attention that the reduction saves.
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


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """Gather tokens per sample: x (B, N, C), index (B, K) gives (B, K, C)."""
    # index_select copies whole rows; gather with an expanded index walks single elements.
    rows = x.reshape(-1, x.shape[-1]).index_select(0, _flat(index, x.shape[1]))
    return rows.view(*index.shape, x.shape[-1])


def keep_only(keep: Tensor) -> Groups:
    """Keep the inputs of (B, K) and discard all others."""
    nothing = keep[:, :0]
    return Groups(keep, nothing, nothing)


def join(num_tokens: int, moved: Tensor, targets: Tensor) -> Groups:
    """Let the inputs `moved` (B, R) join the inputs `targets` (B, R); all others stay, by position.

    No target may itself be moved.
    """
    batch, count = moved.shape
    leaves = torch.zeros(batch, num_tokens, dtype=torch.int8, device=moved.device).scatter_(1, moved, 1)
    keep = leaves.argsort(dim=1, stable=True)[:, : num_tokens - count]
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


def pool_weighted(x: Tensor, weights: Tensor, groups: Groups) -> Tensor:
    """Take the weighted mean of each group: x (B, N, C), weights (B, N) ≥ 0 give (B, K, C)."""
    total = pool_sum(weights, groups)
    staying = (weights.gather(1, groups.keep) / total).to(x.dtype)
    joining = (weights.gather(1, groups.moved) / total.gather(1, groups.into)).to(x.dtype)
    pooled = take_rows(x, groups.keep) * staying[..., None]
    rows = take_rows(x, groups.moved) * joining[..., None]
    flat = pooled.view(-1, x.shape[-1])
    return flat.index_add(0, _flat(groups.into, pooled.shape[1]), rows.flatten(0, 1)).view_as(pooled)


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
