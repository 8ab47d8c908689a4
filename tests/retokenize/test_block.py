"""The steps that all reducers share, by hand."""

from typing import Any

import pytest
import torch

from onedpiece.retokenize import evit, imagepiece, tome
from onedpiece.retokenize.adapters import EncoderAdapter
from onedpiece.retokenize.block import Layout, Tokens, attend, importance, plain_step, split
from onedpiece.tokenizer.transformer import build_blocks

from .conftest import Bare

CLASS = Layout(prefix=1, tail=0, score_tokens=slice(0, 1))


def test_a_merged_token_weighs_as_many_as_it_stands_for() -> None:
    torch.manual_seed(0)
    (block,) = build_blocks(16, 2, 1)
    x = torch.randn(1, 3, 16)
    twice = torch.cat([x, x[:, 2:]], dim=1)  # the third token, two times
    merged = Tokens(x, 4, torch.tensor([[[1.0], [1.0], [2.0]]]))
    with torch.no_grad():
        proportional = plain_step(EncoderAdapter(block), merged, proportional=True)
        plain = plain_step(EncoderAdapter(block), merged, proportional=False)
        torch.testing.assert_close(proportional.x, block(twice)[:, :3])
        assert torch.equal(plain.x, block(x))
    assert not torch.allclose(proportional.x, plain.x, atol=1e-4)


@pytest.mark.parametrize(
    "reducer",
    [
        evit.EvitReducer(2, (0,), proportional=False),
        imagepiece.ImagePieceReducer(0.5, ((0,),), "evit", proportional=False),
    ],
    ids=["evit", "imagepiece"],
)
def test_sizes_say_nothing_where_attention_is_not_proportional(reducer: Any) -> None:
    torch.manual_seed(0)
    (block,) = build_blocks(16, 2, 1)
    x, size = torch.randn(1, 6, 16), torch.tensor([1.0, 1, 5, 2, 1, 3]).view(1, 6, 1)
    with torch.no_grad():
        ones, sized = (reducer.step(0, EncoderAdapter(block), Tokens(x, 6, s), CLASS).x for s in (None, size))
    assert ones.shape[1] < 6
    assert torch.equal(ones, sized)


def test_tome_takes_the_mean_by_size() -> None:
    # Token 2 stands for three: its weight in the mean of the pair (2, 1) is 3/4.
    x = torch.tensor([[[0.0, 1], [4.0, 0], [8.0, 0], [0.0, -1]]])
    size = torch.tensor([1.0, 1, 3, 1]).view(1, 4, 1)
    step = tome.TomeReducer(1).step(0, Bare(), Tokens(x, 6, size), CLASS)
    assert [7.0, 0.0] in step.x[0].tolist()
    assert sorted(step.size.flatten().tolist()) == [1, 1, 4]


def test_only_the_score_tokens_say_what_is_important() -> None:
    q = torch.tensor([1.0, 5.0, -3.0]).view(1, 1, 3, 1)
    k = torch.tensor([1.0, 3.0, 4.0]).log().view(1, 1, 3, 1)
    # The first query is 1: exp(ln k) over their sum of 8.
    assert importance(q, k, None, slice(0, 1))[0].tolist() == pytest.approx([1 / 8, 3 / 8, 4 / 8])


def test_attention_drops_out_in_training() -> None:
    q = torch.ones(1, 1, 3, 2)
    assert attend(Bare(), q, q, q, None).tolist() == [[[1.0, 1.0]] * 3]
    assert not attend(Bare(dropout=1.0), q, q, q, None).any()


def test_a_slice_of_a_batch_takes_all_that_is_its_own() -> None:
    each = torch.arange(3.0).view(3, 1, 1)
    whole = Tokens(each, 1, each + 1, each + 2, each[:, None])
    first, last = split(whole, 2)
    fields = [[part for part in one if isinstance(part, torch.Tensor)] for one in (first, last)]
    assert [len(part) for part in fields[0]] == [2, 2, 2, 2]
    assert [part.item() for part in fields[1]] == [2, 3, 4, 2]
    shared = torch.zeros(5, 2)
    assert split(Tokens(each, 1, rotation=shared), 2)[1].rotation is shared
