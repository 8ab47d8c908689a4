"""Clamping and pairing, with hand-made scores."""

import pytest
import torch

from onedpiece.retokenize.matching import (
    cosine_scores,
    match_both_ways,
    match_one_way,
    num_removable,
    spread_r,
)


@pytest.mark.parametrize(
    ("tokens", "protected", "r", "floor", "expected"),
    [
        (197, 1, 16, 10, 16),
        (65, 1, 0.35, 10, 22),  # ⌊0.35 · 64⌋
        (18, 1, 16, 10, 8),  # both 17 // 2 and 18 - 10
        (12, 1, 16, 10, 2),  # 12 - 10
        (10, 1, 16, 10, 0),
        (50, 1, 100, 0, 24),  # 49 // 2
        (5, 5, 3, 0, 0),
    ],
)
def test_num_removable(tokens: int, protected: int, r: float, floor: int, expected: int) -> None:
    assert num_removable(tokens, protected, r, floor) == expected


def test_a_schedule_of_counts_has_no_shares_in_it() -> None:
    # From 4 to 0 by 4/7: 4, 3.4, 2.9, 2.3, 1.7, 1.1, 0.6, 0; a 0.6 would be more than half of all tokens.
    assert spread_r((2, -1.0), 8) == (4, 3, 2, 2, 1, 1, 0, 0)
    assert spread_r((0.25, 1.0), 3) == (0, 0.25, 0.5)


def test_cosine_scores() -> None:
    x = torch.tensor([[[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [1.0, 1.0]]])
    expected = torch.tensor([[[1.0, 0.5**0.5], [0.0, 0.5**0.5]]])
    torch.testing.assert_close(cosine_scores(x), expected)


# Rows are tokens 0, 2, 4; columns 1, 3, 5.
SCORES = torch.tensor([[[0.1, 0.2, 0.3], [0.9, 0.1, 0.0], [0.5, 0.6, 0.4]]])


def test_one_way() -> None:
    groups = match_one_way(SCORES, 2)  # 2 → 1 (0.9), 4 → 3 (0.6)
    assert groups.keep.tolist() == [[0, 1, 3, 5]]
    assert groups.moved.tolist() == [[2, 4]]
    assert groups.into.tolist() == [[1, 2]]


def test_both_ways_takes_along_what_was_received() -> None:
    # First 2 → 1 (0.9). Of what A has left (0 and 4), the best for 1, 3, 5 are 4 (0.5), 4 (0.6), 4 (0.4).
    groups = match_both_ways(SCORES.clone(), 3)
    assert groups.keep.tolist() == [[0, 4, 5]]
    assert groups.moved.tolist() == [[2, 3, 1]]
    assert groups.into.tolist() == [[1, 1, 1]]  # 2 follows 1 into 4


def test_the_order_of_scores_is_kept_where_it_is_asked_for() -> None:
    groups = match_one_way(SCORES, 1, sort_kept=False)  # 0's best is 0.3, 4's is 0.6
    assert groups.keep.tolist() == [[4, 0, 1, 3, 5]]
