"""EViT's reorganization, by hand."""

import pytest
import torch

from onedpiece.retokenize import evit

X = torch.arange(6.0).view(1, 6, 1)
IMPORTANCE = torch.tensor([[0.0, 0.1, 0.4, 0.3, 0.2, 0.5]])


def test_keeps_the_attentive_and_fuses_the_rest() -> None:
    reduced = evit.reorganize(X, IMPORTANCE, keep_rate=0.6)  # ⌈0.6 · 5⌉ = 3: tokens 2, 3, 5
    assert reduced.x[0, :4, 0].tolist() == [0, 2, 3, 5]
    assert reduced.x[0, 4, 0].item() == pytest.approx((0.1 * 1 + 0.2 * 4) / 0.3)
    assert reduced.size.flatten().tolist() == [1, 1, 1, 1, 2]
    assert reduced.source[0, 4].tolist() == [0, 1, 0, 0, 1, 0]


def test_an_ignored_rest_is_a_plain_mean() -> None:
    reduced = evit.reorganize(X, torch.tensor([[0.0, 0, 0, 1, 1, 1]]), keep_rate=3)
    assert reduced.x[0, -1, 0].item() == pytest.approx(1.5)  # of 1 and 2


@pytest.mark.parametrize(
    ("tokens", "keep", "expected"), [(196, 0.7, 138), (10, 0.7, 7), (10, 1.0, 10), (10, 4, 4), (3, 8, 3)]
)
def test_num_kept(tokens: int, keep: float, expected: int) -> None:
    assert evit.num_kept(tokens, keep) == expected


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="keep_rate is 0"):
        evit.reorganize(X, IMPORTANCE, keep_rate=0)
