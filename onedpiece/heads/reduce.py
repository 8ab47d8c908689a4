"""Fewer tokens in front of the transformer and inside it, and mixed lengths where tokens are merged."""

from collections.abc import Callable
from math import ceil
from typing import TypeVar

import torch
from torch import Tensor, nn

from onedpiece.heads.config import ReducerConfig
from onedpiece.heads.outputs import Output
from onedpiece.retokenize import tome
from onedpiece.retokenize.adapters import EncoderView, Target
from onedpiece.retokenize.api import build_reducer, options_for_share
from onedpiece.retokenize.block import Layout
from onedpiece.retokenize.stack import ReducedBlocks

Out = TypeVar("Out", bound=Output)


def merge_in_front(x: Tensor, share: float) -> Tensor:
    """Merge the most similar tokens until about `share` of them are left.

    Args:
        x: (B, k, W), embedded codes.
        share: in (0, 1]; at least one token is left.

    Returns:
        (B, ⌈share · k⌉, W).

    Source: ToMe's matching (arXiv 2210.09461); one round at most halves, so that small shares take several.
    """
    target = max(1, ceil(share * x.shape[1]))
    size = None
    while x.shape[1] > target:
        removed = min(x.shape[1] - target, x.shape[1] // 2)
        x, size, _ = tome.merge(x, x.detach(), size, removed, num_protected=0)
    return x


def reduced_blocks(blocks: nn.ModuleList, config: ReducerConfig, prefix: int, codes: int) -> ReducedBlocks:
    """Put a reducer between blocks; the `prefix` tokens in front of `codes` code tokens pass untouched."""
    layout = Layout(prefix=prefix, tail=0, judges=slice(0, prefix))
    width = int(blocks[0].ln_1.normalized_shape[0])  # type: ignore[union-attr,index]
    target = Target(blocks, "", EncoderView, layout, width, codes)
    options = options_for_share(config.name, config.share, len(blocks), codes)
    return ReducedBlocks(blocks, target.views(blocks), build_reducer(config.name, target, options), layout)


def by_length(answer: Callable[[Tensor], Out], indices: Tensor, lengths: Tensor) -> Out:
    """Answer for codes of mixed lengths, those of one length at a time.

    Merging looks at all tokens of a sequence, and how many go depends on its length: padding would be
    merged as well. Exactly what one by one gives.
    """
    rows = [(lengths == length).nonzero()[:, 0] for length in sorted(set(lengths.tolist()))]
    parts = [answer(indices[some, : int(lengths[some[0]])]) for some in rows]
    back = torch.cat(rows).argsort()
    fields = (torch.cat(values)[back] for values in zip(*parts, strict=True))
    return type(parts[0])(*fields)
