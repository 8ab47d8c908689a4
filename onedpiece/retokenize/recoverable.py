"""Recoverable Compression (arXiv 2409.01179): how many tokens stand out, and what the text asks for.

Everything is of one picture, as how many tokens are left depends on it.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

NEIGHBOURS = 10  # of the outlier factor
OUTLIER = 1.5  # scikit-learn's contamination="auto"
NEAREST = 32  # tokens that a centre takes up
TEXT_WEIGHT = 50.0  # of the text's score beside a cosine


class Compressed(NamedTuple):
    """What is left of one picture.

    Attributes:
        x: (K, C), the tokens kept, in order, then the centres, then one token for all others.
        kept: (N,) bool, the tokens kept as they were.
        centres: (N,) bool, those that took others up.
    """

    x: Tensor
    kept: Tensor
    centres: Tensor


def outlier_share(scores: Tensor, neighbours: int = NEIGHBOURS) -> float:
    """Return the part of scores (N,) that lie apart from the others, by their local outlier factor.

    A score's density is the inverse of its mean reachability from its nearest others; it is an outlier where
    theirs is more than 1.5 times as high. As scikit-learn's `LocalOutlierFactor(10, contamination="auto")`.
    """
    count = len(scores)
    neighbours = min(neighbours, count - 1)
    if neighbours < 1:
        return 0.0
    distance = (scores.double()[:, None] - scores.double()).abs()
    distance.fill_diagonal_(torch.inf)
    near, index = distance.topk(neighbours, dim=1, largest=False)
    reach = torch.maximum(near, near[:, -1][index])
    density = 1 / (reach.mean(dim=1) + 1e-10)
    factor = density[index].mean(dim=1) / density
    return float((factor > OUTLIER).double().mean())


def standing_out(scores: Tensor) -> Tensor:
    """Mark the highest of scores (N,), as many as there are outliers: (N,) bool."""
    count = int(outlier_share(scores) * len(scores))
    best = scores.topk(count).indices
    return torch.zeros_like(scores, dtype=torch.bool).index_fill(0, best, True)


@torch.no_grad()
def compress(x: Tensor, keys: Tensor, importance: Tensor, text_score: Tensor | None = None) -> Compressed:
    """Keep what stands out by class attention or by the text, and gather the rest around a few centres.

    x: (N, C), features of the patches; keys: (N, D), of the layer whose class attention is `importance`,
    (N,); text_score: (N,), cosines of the patches to the question's embedding, which needs the text tower
    that the vision tower was trained with; none: the question has no say. Of the rest, those that stand out
    are centres; each adds the 32 tokens nearest to it, by cosine of keys and 50 times their text score,
    weighted by importance; what no centre took becomes one token, their sum weighted by importance.

    Reference: arXiv 2409.01179, section 3, and its code.
    """
    kept = standing_out(importance)
    if text_score is not None:
        kept = kept | standing_out(text_score)
    rest = (~kept).nonzero()[:, 0]
    centres = rest[standing_out(importance[rest])]
    free = rest[~torch.isin(rest, centres)]
    near = F.normalize(keys[centres], dim=-1) @ F.normalize(keys[free], dim=-1).T
    if text_score is not None:
        near = near + TEXT_WEIGHT * text_score[free]
    taken = near.topk(min(NEAREST, len(free)), dim=1).indices
    weighted = importance[free, None] * x[free]
    gathered = x[centres] + weighted[taken].sum(dim=1)
    alone = torch.ones(len(free), dtype=torch.bool, device=x.device).index_fill(0, taken.flatten(), False)
    parts = [x[kept], gathered, weighted[alone].sum(dim=0, keepdim=True)]
    marked = torch.zeros_like(kept).index_fill(0, centres, True)
    return Compressed(torch.cat(parts), kept, marked)
