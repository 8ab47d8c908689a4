"""ImagePiece: re-tokenize what is not semantic yet (arXiv 2412.16491).

Tokens are ranked by the class token's attention; the least important ones are merged among each other,
so that pieces of one thing become one token that may rank higher; what stays unimportant at the end of a
round is discarded. The paper leaves open how many tokens count as unimportant; here that is a parameter.
"""

import torch
from torch import Tensor

from onedpiece.retokenize.groups import (
    Groups,
    join,
    keep_all,
    keep_only,
    pool_sum,
    pool_weighted,
    source_map,
    take_rows,
)
from onedpiece.retokenize.matching import cosine_scores, match_one_way
from onedpiece.retokenize.reduction import Reduction


def retokenize(
    x: Tensor,
    metric: Tensor,
    importance: Tensor,
    size: Tensor | None = None,
    r: int = 19,
    bottom: int = 59,
    num_protected: int = 1,
) -> Reduction:
    """Merge the `r` most similar pairs inside the `bottom` least important tokens.

    x: (B, N, C); metric: (B, N, D), what similarity is measured on, usually the keys averaged over the
    heads; importance: (B, N); size: (B, N, 1), ones where not given. The others, and the first
    `num_protected` tokens, pass untouched; the outputs are in the order of the inputs.

    Raises:
        ValueError: `r` pairs do not fit into `bottom` tokens, or those into the unprotected ones.

    Reference: arXiv 2412.16491, section 3.3.
    """
    size = x.new_ones(*x.shape[:2], 1) if size is None else size
    groups = plan_merge(metric, importance, r, bottom, num_protected)
    pooled_size = pool_sum(size[..., 0], groups)[..., None]
    return Reduction(
        pool_weighted(x, size[..., 0], groups), pooled_size, source_map(groups, x.shape[1], x.dtype)
    )


def discard(
    x: Tensor, importance: Tensor, size: Tensor | None = None, kept: int = 138, num_protected: int = 1
) -> Reduction:
    """Keep the `kept` most important of the unprotected tokens, in their order, and drop the rest.

    x: (B, N, C); importance: (B, N); size: (B, N, 1), ones where not given.

    Reference: arXiv 2412.16491, section 3.3, the end of a round.
    """
    size = x.new_ones(*x.shape[:2], 1) if size is None else size
    groups = plan_discard(importance, kept, num_protected)
    return Reduction(
        take_rows(x, groups.keep), take_rows(size, groups.keep), source_map(groups, x.shape[1], x.dtype)
    )


@torch.no_grad()
def plan_merge(metric: Tensor, importance: Tensor, r: int, bottom: int, num_protected: int = 1) -> Groups:
    """Choose `r` pairs inside the `bottom` least important tokens: metric (B, N, D), importance (B, N).

    Raises:
        ValueError: `r` pairs do not fit into `bottom` tokens, or those into the unprotected ones.
    """
    num_tokens = importance.shape[1]
    if not 2 * r <= bottom <= num_tokens - num_protected:
        raise ValueError(f"r is {r} and bottom {bottom}; give 2r ≤ bottom ≤ {num_tokens - num_protected}")
    if r == 0:
        return keep_all(importance)
    lowest = importance[:, num_protected:].topk(bottom, dim=1, largest=False, sorted=False).indices
    lowest = lowest.sort(dim=1).values + num_protected
    pairs = match_one_way(cosine_scores(take_rows(metric, lowest)).float(), r)
    targets = pairs.keep.gather(1, pairs.into)
    return join(num_tokens, lowest.gather(1, pairs.moved), lowest.gather(1, targets))


@torch.no_grad()
def plan_discard(importance: Tensor, kept: int, num_protected: int = 1) -> Groups:
    """Choose the `kept` most important of the unprotected tokens: importance (B, N).

    Raises:
        ValueError: there are fewer of them.
    """
    batch, num_tokens = importance.shape
    if not 0 <= kept <= num_tokens - num_protected:
        raise ValueError(f"kept is {kept}; of {num_tokens} tokens give 0 to {num_tokens - num_protected}")
    prefix = torch.arange(num_protected, device=importance.device).expand(batch, num_protected)
    best = importance[:, num_protected:].topk(kept, dim=1, sorted=False).indices.sort(dim=1).values
    return keep_only(torch.cat([prefix, best + num_protected], dim=1))
