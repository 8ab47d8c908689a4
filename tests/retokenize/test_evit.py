"""EViT's reorganization, by hand."""

from math import log

import pytest
import torch

from onedpiece.retokenize import evit
from onedpiece.retokenize.block import Layout, Tokens

from .conftest import Bare

CLASS = Layout(prefix=1, tail=0, score_tokens=slice(0, 1))

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
    ("tokens", "keep", "expected"),
    [(196, 0.7, 138), (10, 0.7, 7), (10, 1.0, 10), (10, 4, 4), (3, 8, 3), (100, 0.07, 7)],
)
def test_num_kept(tokens: int, keep: float, expected: int) -> None:
    assert evit.num_kept(tokens, keep) == expected


def test_a_block_fuses_by_what_the_class_token_sees() -> None:
    # It sees 8, 1 and 3: a third of three is kept, the other two are (1 · ln 1 + 3 · ln 3) / 4.
    x = torch.tensor([1.0, log(8), 0, log(3)]).view(1, 4, 1)
    step = evit.EvitReducer(1 / 3, (0,)).step(0, Bare(), Tokens(x, 4), CLASS)
    assert step.x.flatten().tolist() == pytest.approx([1, log(8), 3 * log(3) / 4])
    assert step.size is not None
    assert step.size.flatten().tolist() == [1, 1, 2]


@pytest.mark.parametrize(("keep", "expected"), [(3, False), (2, True)])
def test_one_token_is_not_fused_with_nothing(keep: int, expected: bool) -> None:
    tokens = Tokens(torch.zeros(1, 5, 1), 5)
    assert evit.EvitReducer(keep, (0,)).active(0, tokens, CLASS) is expected
    assert not evit.EvitReducer(keep, (0,)).active(1, tokens, CLASS)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="keep_rate is 0"):
        evit.reorganize(X, IMPORTANCE, keep_rate=0)
