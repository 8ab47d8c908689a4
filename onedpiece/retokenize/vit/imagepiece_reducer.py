"""ImagePiece in a block: rounds of merging the non-semantic tokens, each ended by a selection."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from onedpiece.retokenize import evit, imagepiece, tome
from onedpiece.retokenize.groups import Groups, pool_weighted
from onedpiece.retokenize.vit.advance import advance, front, num_free, sizes, with_tail
from onedpiece.retokenize.vit.attention import attend, importance, plain_step, size_bias
from onedpiece.retokenize.vit.rounds import Finish, Turn, check_rounds, schedule
from onedpiece.retokenize.vit.view import BlockView, Layout, Tokens


@dataclass(frozen=True)
class ImagePieceReducer:
    """ImagePiece's re-tokenization between attention and MLP (arXiv 2412.16491).

    The first layers of a round merge pairs of low-ranking tokens, ranked anew in each; its last one ends
    it as `finish` says: drop what still ranks low (`discard`); fuse that into one token (`evit`); merge
    the most similar pairs of all tokens (`tome`); or merge low-ranking ones once more (`merge`).
    """

    keep: float = 0.7  # share of the tokens that a round leaves; 0.7 is the paper's, 0.5 ends at 26 of 197
    rounds: Sequence[Sequence[int]] = ((1, 2, 3), (4, 5, 6), (7, 8, 9))  # from 0; inferred from their Table 5
    finish: Finish = "discard"
    proportional: bool = False  # the paper has no log size over the keys

    def __post_init__(self) -> None:
        check_rounds(self.keep, self.rounds, self.finish)

    @property
    def layers(self) -> list[int]:
        """All layers that do something."""
        return [layer for turns in self.rounds for layer in turns]

    ragged: ClassVar[bool] = False

    def active(self, layer: int, tokens: Tokens, layout: Layout) -> bool:
        """See `Reducer`."""
        turn = self._turn(layer, tokens, layout)
        return turn is not None and turn.removed > 0

    def step(self, layer: int, view: BlockView, tokens: Tokens, layout: Layout) -> Tokens:
        """See `Reducer`."""
        turn = self._turn(layer, tokens, layout)
        if turn is None or turn.removed == 0:
            return plain_step(view, tokens, self.proportional)
        q, k, v = view.project(view.normed(tokens.x))
        bias = size_bias(tokens.size, q.dtype) if self.proportional else None
        rank = importance(q, k, bias, layout.judges)
        x = view.add_attention(tokens.x, attend(view, q, k, v, bias))
        groups = _plan(turn, front(k.mean(dim=1), layout), front(rank, layout), layout.prefix)
        groups = with_tail(groups, x.shape[1], layout)
        weights = evit.fusion_weights(rank) if turn.action == "evit" else sizes(tokens)[..., 0]
        return advance(tokens, view.add_mlp(pool_weighted(x, weights, groups)), groups)

    def _turn(self, layer: int, tokens: Tokens, layout: Layout) -> Turn | None:
        rounds = tuple(tuple(turns) for turns in self.rounds)
        return schedule(num_free(tokens.origin, layout), self.keep, rounds, self.finish).get(layer)


def _plan(turn: Turn, metric: Tensor, rank: Tensor, num_protected: int) -> Groups:
    kept = rank.shape[1] - num_protected - turn.removed
    match turn.action:
        case "discard":
            return imagepiece.plan_discard(rank, kept, num_protected)
        case "evit":
            return evit.plan(rank, kept - 1, num_protected)
        case "tome":
            return tome.plan(metric, turn.removed, num_protected)
        case "merge":
            return imagepiece.plan_merge(metric, rank, turn.removed, turn.bottom, num_protected)
