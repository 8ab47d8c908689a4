"""Index form, source maps and the way back."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onedpiece.retokenize import compose, tome, unmerge
from onedpiece.retokenize.groups import (
    Groups,
    append_tail,
    destinations,
    join,
    keep_only,
    pool_max,
    pool_sum,
    pool_weighted,
    prepend_prefix,
    source_map,
    take_rows,
)

# Five inputs: 3 and 1 join 4, which comes out second; 0 is discarded.
GROUPS = Groups(torch.tensor([[2, 4]]), torch.tensor([[3, 1]]), torch.tensor([[1, 1]]))
X = torch.tensor([[[0.0], [1.0], [2.0], [3.0], [8.0]]])


def test_source_map_and_destinations() -> None:
    assert source_map(GROUPS, 5).tolist() == [[[0, 0, 1, 0, 0], [0, 1, 0, 1, 1]]]
    assert destinations(GROUPS, 5).tolist() == [[-1, 1, 0, 1, 1]]


def test_poolings() -> None:
    assert pool_sum(X[..., 0], GROUPS).tolist() == [[2, 12]]  # 1 + 3 + 8
    assert pool_max(X, GROUPS).flatten().tolist() == [2, 8]
    weights = torch.tensor([[9.0, 1.0, 9.0, 2.0, 1.0]])
    assert pool_weighted(X, weights, GROUPS).flatten().tolist() == [2, 3.75]  # (1 + 2·3 + 8) / 4


def test_join_keeps_the_order() -> None:
    groups = join(5, torch.tensor([[3, 0]]), torch.tensor([[1, 4]]))
    assert groups.keep.tolist() == [[1, 2, 4]]
    assert groups.into.tolist() == [[0, 2]]


def test_prefix_and_tail_pass() -> None:
    groups = append_tail(prepend_prefix(GROUPS, 2), 7, 1)
    assert groups.keep.tolist() == [[0, 1, 4, 6, 7]]
    assert groups.moved.tolist() == [[5, 3]]
    assert groups.into.tolist() == [[3, 3]]


def test_take_rows_is_per_sample() -> None:
    x = torch.arange(6.0).view(2, 3, 1)
    assert take_rows(x, torch.tensor([[2], [0]])).flatten().tolist() == [2, 3]


def test_discarded_positions_are_zero_and_soft_ones_are_mixed() -> None:
    y = torch.tensor([[[2.0], [6.0]]])
    assert unmerge(y, source_map(GROUPS, 5)).flatten().tolist() == [0, 6, 2, 6, 6]
    soft = torch.tensor([[[0.1, 0.0], [0.3, 0.5]]])  # input 0: a quarter of output 0, three of output 1
    torch.testing.assert_close(unmerge(y, soft).flatten(), torch.tensor([5.0, 6.0]))


def test_composition_is_applying_one_after_the_other() -> None:
    dropped = source_map(keep_only(torch.tensor([[1]])), 2)
    assert compose(dropped, source_map(GROUPS, 5)).tolist() == [[[0, 1, 0, 1, 1]]]


@settings(max_examples=30, deadline=None)
@given(tokens=st.integers(2, 40), r=st.integers(0, 40), protected=st.integers(0, 6), seed=st.integers(0, 99))
def test_merging_loses_nothing(tokens: int, r: int, protected: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, tokens, 4, generator=generator)
    size = torch.randint(1, 5, (2, tokens, 1), generator=generator).float()
    merged = tome.merge(x, x, size, r=r, num_protected=min(protected, tokens))
    assert torch.equal(merged.source.sum(dim=1), torch.ones(2, tokens))
    torch.testing.assert_close(merged.source @ size, merged.size)
    torch.testing.assert_close((merged.x * merged.size).sum(1), (x * size).sum(1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        unmerge(merged.x, merged.source).mul(size).sum(1), (x * size).sum(1), atol=1e-4, rtol=1e-4
    )
