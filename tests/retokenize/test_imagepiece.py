"""ImagePiece's operators and schedule, by hand."""

from math import log

import pytest
import torch

from onedpiece.retokenize import imagepiece
from onedpiece.retokenize.block import Layout, Tokens
from onedpiece.retokenize.imagepiece import ImagePieceReducer, LayerAction, layer_actions

from .conftest import Bare

# Tokens 2 and 5 are equal, 1 and 4 nearly so; 3 and 6 are important, and equal too.
METRIC = torch.tensor([[[1.0, 1], [1, 0], [0, 1], [-1, 1], [1, 0.1], [0, 1], [-1, 1]]])
IMPORTANCE = torch.tensor([[0.0, 0.1, 0.2, 0.9, 0.3, 0.4, 0.8]])
X = torch.tensor([[[0.0], [1], [2], [3], [4], [5], [6]]])


def test_merges_only_among_the_unimportant() -> None:
    # The bottom four are 1, 2, 4, 5; in their order even ones are 1 and 4, odd ones 2 and 5; the best
    # pair between the two sets is 4 with 2 or 5 (cosine 0.1/√1.01), as 1 is orthogonal to both.
    reduced = imagepiece.retokenize(X, METRIC, IMPORTANCE, r=1, bottom=4)
    assert reduced.x.shape[1] == 6
    assert {0.0, 1.0, 3.0, 6.0} <= set(reduced.x.flatten().tolist())
    assert reduced.source[0].sum(dim=0).tolist() == [1] * 7
    merged = reduced.source[0, reduced.size[0, :, 0].argmax()].nonzero().flatten().tolist()
    assert merged in ([2, 4], [4, 5])


def test_the_order_is_kept() -> None:
    reduced = imagepiece.retokenize(X, METRIC, IMPORTANCE, r=2, bottom=4)
    first = reduced.source[0].argmax(dim=1)
    assert reduced.x.shape[1] == 5
    assert torch.equal(reduced.size.sum(), torch.tensor(7.0))
    assert first[0] == 0


def test_discard_drops_what_ranks_low() -> None:
    reduced = imagepiece.discard(X, IMPORTANCE, kept=3)
    assert reduced.x.flatten().tolist() == [0, 3, 5, 6]
    assert reduced.source[0].sum(dim=0).tolist() == [1, 0, 0, 1, 0, 1, 1]


@pytest.mark.parametrize("kept", [-1, 7])
def test_discard_cannot_keep_more_than_there_are(kept: int) -> None:
    with pytest.raises(ValueError, match=f"kept is {kept}; of 7 tokens give 0 to 6"):
        imagepiece.discard(X, IMPORTANCE, kept=kept)


def test_too_many_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="r is 3 and bottom 4; give 2r ≤ bottom ≤ 6"):
        imagepiece.retokenize(X, METRIC, IMPORTANCE, r=3, bottom=4)


def test_the_paper_schedule_ends_at_68_patches() -> None:
    # 196 → ⌈0.7 · 196⌉ = 138 → 97 → 68; the excess of 58 goes in parts of 19, 20 and 19.
    actions = layer_actions(196, 0.7, ((1, 2, 3), (4, 5, 6), (7, 8, 9)))
    assert actions[1] == LayerAction("merge", 19, 58)
    assert actions[2] == LayerAction("merge", 20, 40)  # 39 above the goal, but 20 pairs need 40 tokens
    assert actions[3] == LayerAction("discard", 19, 38)
    assert 196 - sum(action.removed for action in actions.values()) == 68


def test_half_three_times_ends_at_25_patches() -> None:
    actions = layer_actions(196, 0.5, ((1, 2, 3), (4, 5, 6), (7, 8, 9)))
    assert 196 - sum(action.removed for action in actions.values()) == 25  # 98, 49, ⌈24.5⌉


@pytest.mark.parametrize("finish", ["merge", "tome"])
def test_a_merge_takes_at_most_half(finish: str) -> None:
    actions = layer_actions(100, 0.2, ((1,),), finish)  # type: ignore[arg-type]
    assert actions[1].removed == 50
    assert actions[1].bottom == 100


def test_nothing_to_merge_keeps_everything() -> None:
    assert torch.equal(imagepiece.retokenize(X, METRIC, IMPORTANCE, r=0, bottom=0).x, X)


def test_a_round_may_end_as_evit_does() -> None:
    # The class token sees 8, 1, 3 and 2 of four; half are left: the 8, and the mean of the rest so weighted.
    x = torch.tensor([1.0, log(8), 0, log(3), log(2)]).view(1, 5, 1)
    layout = Layout(prefix=1, tail=0, score_tokens=slice(0, 1))
    step = ImagePieceReducer(0.5, ((0,),), "evit").step(0, Bare(), Tokens(x, 5), layout)
    assert step.x.flatten().tolist() == pytest.approx([1, log(8), (3 * log(3) + 2 * log(2)) / 6])


@pytest.mark.parametrize("schedule", [((1, 1),), ((1,), (1, 2)), ((1,), ())])
def test_a_layer_has_one_thing_to_do_and_a_round_a_layer(schedule: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="give increasing layers, at least one a round"):
        ImagePieceReducer(schedule=schedule)
