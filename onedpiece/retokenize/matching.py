"""Bipartite soft matching: even tokens against odd ones, the best pairs first.

Set A holds the even positions (and so the class token), set B the odd ones; `scores` is (B, |A|, |B|).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from onedpiece.retokenize.groups import Groups, prepend_prefix

Removal = float | Sequence[float]
"""Tokens to remove in each layer, or one number for every layer; below 1 a part of the unprotected tokens."""


def spread_r(r: Removal, depth: int) -> Removal:
    """Write `r` as ToMe takes it as one number, or as one for each of `depth` layers.

    r: a number; a list with one for each of the first layers (the others remove nothing); or a tuple
    (r, inflection) with inflection in [-1, 1]: r·(1 - inflection) tokens in the first layer, evenly up or
    down to r·(1 + inflection) in the last.

    Raises:
        ValueError: a number is negative, there are more than layers, or the inflection is out of range.

    Reference: ToMe, arXiv 2210.09461, section 4.1 (schedules).
    """
    if isinstance(r, int | float):
        return _checked_r([r])[0]
    if isinstance(r, tuple) and len(r) == 2:
        mean, inflection = r
        if not -1 <= inflection <= 1:
            raise ValueError(f"the inflection is {inflection}; give -1 (most at first) to 1 (most at last)")
        first, last = mean * (1 - inflection), mean * (1 + inflection)
        steps = [first + (last - first) * layer / max(depth - 1, 1) for layer in range(depth)]
        return _checked_r(steps if mean < 1 else [int(step) for step in steps])
    if len(r) > depth:
        raise ValueError(f"r has {len(r)} numbers; the model has {depth} layers, give one for each at most")
    return _checked_r([*r, *[0] * (depth - len(r))])


def _checked_r(r: Sequence[float]) -> tuple[float, ...]:
    if not all(isinstance(each, int | float) and each >= 0 for each in r):
        raise ValueError(f"r is {list(r)}; give a token count ≥ 1, a part in (0, 1), or 0 to remove nothing")
    return tuple(r)


def r_of(r: Removal, layer: int) -> float:
    """Return what `r` says for one layer (counted from 0); nothing behind the end of a list."""
    if isinstance(r, int | float):
        return r
    return r[layer] if layer < len(r) else 0


def num_removable(num_tokens: int, num_protected: int, r: float, floor: int = 0) -> int:
    """Clamp a request to remove `r` tokens (a part of the unprotected ones where r < 1) to what is possible.

    At most half of the unprotected tokens go in one step, and never fewer than `floor` tokens are left.

    Raises:
        ValueError: `r` is negative.
    """
    if r < 0:
        raise ValueError(f"r is {r}; give a token count ≥ 1, a part in (0, 1), or 0 to remove nothing")
    free = max(num_tokens - num_protected, 0)
    wanted = int(r * free) if r < 1 else int(r)
    return max(min(wanted, free // 2, num_tokens - floor), 0)


def cosine_scores(metric: Tensor) -> Tensor:
    """Cosine similarity of every even with every odd token: (B, N, C) gives (B, |A|, |B|) in [-1, 1]."""
    inverse = metric.norm(dim=-1).clamp_min(1e-12).reciprocal()
    raw = metric[:, ::2] @ metric[:, 1::2].transpose(1, 2)
    scores: Tensor = raw * inverse[:, ::2, None] * inverse[:, None, 1::2]
    return scores


def match_behind_prefix(scores: Tensor, num_protected: int, match: Callable[[Tensor], Groups]) -> Groups:
    """Match with the first token barred, and let the protected ones in front of it pass.

    `scores` are those of `behind_prefix` tokens: the last protected token, if there is one, comes first.
    """
    if num_protected:
        scores[:, 0] = -torch.inf
    return prepend_prefix(match(scores), max(num_protected - 1, 0))


def behind_prefix(values: Tensor, num_protected: int) -> Tensor:
    """Cut off all protected tokens but the last, which keeps the parity that one class token gives."""
    return values[:, max(num_protected - 1, 0) :]


def match_one_way(scores: Tensor, r: int, sort_kept: bool = True) -> Groups:
    """Move the `r` tokens of A with the best partner into that partner.

    The outputs are A's rest, by position or (`sort_kept` off) by falling score, then all of B.
    """
    batch, _, num_b = scores.shape
    best, partner = scores.max(dim=-1)
    order = best.argsort(dim=-1, descending=True)
    kept = order[:, r:].sort(dim=-1).values if sort_kept else order[:, r:]
    odd = torch.arange(num_b, device=scores.device).expand(batch, num_b)
    into = partner.gather(1, order[:, :r]) + kept.shape[1]
    return Groups(torch.cat([2 * kept, 2 * odd + 1], dim=1), 2 * order[:, :r], into)


def match_both_ways(scores: Tensor, r: int) -> Groups:
    """Move ⌊r/2⌋ tokens of A into B, then r - ⌊r/2⌋ of B into what is left of A.

    A token of B that received one takes it along when it moves itself. The outputs are A's rest by
    position, then B's rest by falling score (MCTF, arXiv 2403.10030, section 3.3).
    """
    half = r // 2
    best, partner = scores.max(dim=-1)
    order = best.argsort(dim=-1, descending=True)
    gone, kept_a = order[:, :half], order[:, half:].sort(dim=-1).values
    rest = scores.scatter(1, gone[..., None].expand(-1, -1, scores.shape[2]), -torch.inf)
    best_back, partner_back = rest.max(dim=1)
    order_back = best_back.argsort(dim=-1, descending=True)
    gone_b, kept_b = order_back[:, : r - half], order_back[:, r - half :]
    back_into = _places(kept_a, scores.shape[1]).gather(1, partner_back.gather(1, gone_b))
    place_b = _places(kept_b, scores.shape[2], start=kept_a.shape[1]).scatter(1, gone_b, back_into)
    into = place_b.gather(1, partner.gather(1, gone))
    return Groups(
        keep=torch.cat([2 * kept_a, 2 * kept_b + 1], dim=1),
        moved=torch.cat([2 * gone, 2 * gone_b + 1], dim=1),
        into=torch.cat([into, back_into], dim=1),
    )


def _places(kept: Tensor, num_tokens: int, start: int = 0) -> Tensor:
    """Where each token of a set stands in the output; (B, num_tokens), arbitrary for those that left."""
    batch, count = kept.shape
    places = torch.arange(start, start + count, device=kept.device).expand(batch, count)
    return kept.new_zeros(batch, num_tokens).scatter(1, kept, places)
