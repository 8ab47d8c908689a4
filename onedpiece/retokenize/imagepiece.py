"""ImagePiece: re-tokenize what is not semantic yet (arXiv 2412.16491).

Tokens are ranked by the class token's attention; the least important ones are merged among each other,
so that pieces of one thing become one token that may rank higher; what stays unimportant at the end of a
round is discarded. The paper leaves open how many tokens count as unimportant; here that is a parameter.
`layer_actions` lists how many tokens each layer removes, and how; `ImagePieceReducer` does it in a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from onedpiece.retokenize import evit, tome
from onedpiece.retokenize.block import (
    BlockAdapter,
    Layout,
    Tokens,
    advance,
    attend,
    front,
    importance,
    num_free,
    plain_step,
    size_bias,
    sizes,
    with_tail,
)
from onedpiece.retokenize.evit import num_kept
from onedpiece.retokenize.groups import (
    Groups,
    Reduction,
    join,
    keep_all,
    keep_only,
    pool_sum,
    pool_weighted,
    source_map,
    take_rows,
)
from onedpiece.retokenize.matching import cosine_scores, match_one_way

Finish = Literal["discard", "evit", "tome", "merge"]


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


class LayerAction(NamedTuple):
    """What one layer does.

    Attributes:
        kind: the way of removing tokens.
        removed: how many of them.
        bottom: how many count as non-semantic, for merging inside them.
    """

    kind: Finish
    removed: int
    bottom: int


@cache
def layer_actions(
    num_tokens: int, keep_rate: float, schedule: tuple[tuple[int, ...], ...], finish: Finish = "discard"
) -> dict[int, LayerAction]:
    """Spread the work of each round evenly over its layers.

    A round that begins with n tokens ends with ⌈keep_rate · n⌉. The excess counts as non-semantic; each
    layer but the last merges its even part of it in pairs (never more than half of all tokens), and the
    last one removes what is left, as `finish` says. `num_tokens` counts unprotected tokens only.
    """
    actions: dict[int, LayerAction] = {}
    for layers in schedule:
        start, goal = num_tokens, num_kept(num_tokens, keep_rate)
        for done, layer in enumerate(layers, start=1):
            kind: Finish = finish if done == len(layers) else "merge"
            target = start - round((start - goal) * done / len(layers))
            removed = max(num_tokens - target, 0)
            if kind in ("merge", "tome"):
                removed = min(removed, num_tokens // 2)
            actions[layer] = LayerAction(kind, removed, max(num_tokens - goal, 2 * removed))
            num_tokens -= removed
    return actions


def check_schedule(keep_rate: float, schedule: Sequence[Sequence[int]], finish: str) -> None:
    """Refuse a schedule that cannot be run.

    Raises:
        ValueError: `keep_rate` is out of range, `finish` is unknown, or layers are empty or out of order.
    """
    if not 0 < keep_rate <= 1:
        raise ValueError(
            f"keep_rate is {keep_rate}; give the part in (0, 1] of its tokens that a round leaves"
        )
    if finish not in get_args(Finish):
        raise ValueError(f"finish is {finish!r}; choose one of {', '.join(get_args(Finish))}")
    layers = [layer for round_ in schedule for layer in round_]
    if layers != sorted(set(layers)) or not all(schedule):
        raise ValueError(f"schedule is {schedule}; give increasing layers, at least one a round")


@dataclass(frozen=True)
class ImagePieceReducer:
    """ImagePiece's re-tokenization between attention and MLP (arXiv 2412.16491).

    The first layers of a round merge pairs of low-ranking tokens, ranked anew in each; its last one ends
    it as `finish` says: drop what still ranks low (`discard`); fuse that into one token (`evit`); merge
    the most similar pairs of all tokens (`tome`); or merge low-ranking ones once more (`merge`).
    """

    keep_rate: float = (
        0.7  # part of the tokens that a round leaves; 0.7 is the paper's, 0.5 ends at 26 of 197
    )
    schedule: Sequence[Sequence[int]] = (
        (1, 2, 3),
        (4, 5, 6),
        (7, 8, 9),
    )  # rounds; inferred from their Table 5
    finish: Finish = "discard"
    proportional: bool = False  # the paper has no log size over the keys

    def __post_init__(self) -> None:
        check_schedule(self.keep_rate, self.schedule, self.finish)

    @property
    def layers(self) -> list[int]:
        """All layers that do something."""
        return [layer for round_ in self.schedule for layer in round_]

    ragged: ClassVar[bool] = False

    def active(self, layer: int, tokens: Tokens, layout: Layout) -> bool:
        """See `Reducer`."""
        action = self._action(layer, tokens, layout)
        return action is not None and action.removed > 0

    def step(self, layer: int, block: BlockAdapter, tokens: Tokens, layout: Layout) -> Tokens:
        """See `Reducer`."""
        action = self._action(layer, tokens, layout)
        if action is None or action.removed == 0:
            return plain_step(block, tokens, self.proportional)
        q, k, v = block.project(block.normed(tokens.x), tokens.rotation)
        bias = size_bias(tokens.size, q.dtype) if self.proportional else None
        rank = importance(q, k, bias, layout.score_tokens)
        x = block.add_attention(tokens.x, attend(block, q, k, v, bias))
        groups = _plan(action, front(k.mean(dim=1), layout), front(rank, layout), layout.prefix)
        groups = with_tail(groups, x.shape[1], layout)
        weights = evit.fusion_weights(rank) if action.kind == "evit" else sizes(tokens)[..., 0]
        return advance(tokens, block.add_mlp(pool_weighted(x, weights, groups)), groups)

    def _action(self, layer: int, tokens: Tokens, layout: Layout) -> LayerAction | None:
        rounds = tuple(tuple(round_) for round_ in self.schedule)
        return layer_actions(num_free(tokens.origin, layout), self.keep_rate, rounds, self.finish).get(layer)


def _plan(action: LayerAction, metric: Tensor, rank: Tensor, num_protected: int) -> Groups:
    kept = rank.shape[1] - num_protected - action.removed
    match action.kind:
        case "discard":
            return plan_discard(rank, kept, num_protected)
        case "evit":
            return evit.plan(rank, kept - 1, num_protected)
        case "tome":
            return tome.plan(metric, action.removed, num_protected)
        case "merge":
            return plan_merge(metric, rank, action.removed, action.bottom, num_protected)
