"""Fewer tokens in front of the transformer and inside it, and mixed lengths where tokens are merged."""

from collections.abc import Callable
from math import ceil
from typing import TypeVar

import torch
from torch import Tensor, nn

from onedpiece.heads.config import ReducerConfig
from onedpiece.heads.outputs import Output
from onedpiece.retokenize import tome
from onedpiece.retokenize.adapters import EncoderAdapter, ModelSite
from onedpiece.retokenize.api import build_reducer, ratio_to_options
from onedpiece.retokenize.block import Layout
from onedpiece.retokenize.stack import ReducedBlocks

Out = TypeVar("Out", bound=Output)


def merge_in_front(x: Tensor, keep_ratio: float) -> Tensor:
    """Merge the most similar tokens until about `keep_ratio` of them are left.

    Args:
        x: (B, k, W), embedded codes.
        keep_ratio: in (0, 1]; at least one token is left.

    Returns:
        (B, ⌈keep_ratio · k⌉, W).

    Source: ToMe's matching (arXiv 2210.09461); one round at most halves, so that small ratios take several.
    """
    target = max(1, ceil(keep_ratio * x.shape[1]))
    size = None
    while x.shape[1] > target:
        removed = min(x.shape[1] - target, x.shape[1] // 2)
        x, size, _ = tome.merge(x, x.detach(), size, removed, num_protected=0)
    return x


def reduced_blocks(
    blocks: nn.ModuleList, config: ReducerConfig, num_queries: int, num_context: int
) -> ReducedBlocks:
    """Put a reducer into blocks; `num_queries` tokens pass untouched and rank the context behind them."""
    layout = Layout(prefix=num_queries, tail=0, score_tokens=slice(0, num_queries))
    width = int(blocks[0].ln_1.normalized_shape[0])  # type: ignore[union-attr,index]
    site = ModelSite(blocks, "", EncoderAdapter, layout, width, num_context)
    options = ratio_to_options(config.name, config.keep_ratio, len(blocks), num_context)
    return ReducedBlocks(blocks, site.adapt(blocks), build_reducer(config.name, site, options), layout)


def in_groups(
    predict: Callable[[Tensor, Tensor | None], Out], indices: Tensor, lengths: Tensor, keys: Tensor
) -> Out:
    """Predict for codes of mixed lengths, those with one key at a time: exactly what one by one gives.

    Merging looks at all tokens of a sequence, and how many go depends on its length: padding would be merged
    as well. And the grid of a head may follow the length.

    Args:
        predict: a batch of tokens, and their lengths where they differ, to a prediction.
        indices: (B, k).
        lengths: (B,) in 1…k.
        keys: (B,) integers, equal where codes may go together.
    """
    rows = [(keys == key).nonzero()[:, 0] for key in sorted(set(keys.tolist()))]
    parts = []
    for some in rows:
        there, longest = lengths[some], int(lengths[some].max())
        mixed = bool((there < longest).any())
        parts.append(predict(indices[some, :longest], there if mixed else None))
    back = torch.cat(rows).argsort()
    fields = (torch.cat(values)[back] for values in zip(*parts, strict=True))
    return type(parts[0])(*fields)
