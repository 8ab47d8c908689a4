"""MCTF's operator against the authors' code, and against arithmetic done by hand."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from onedpiece.retokenize import mctf
from onedpiece.retokenize.block import Layout, Tokens

from .conftest import Bare

CASES = ["paper", "paper_sized", "ratio", "one_way", "size_pool", "floor"]
POOLING = {"attention_x_size": "attention", "size": "size"}


@pytest.mark.parametrize("case", CASES)
def test_matches_the_authors_code(data: Path, case: str) -> None:
    vectors = load_file(data / "mctf_ops.safetensors")
    options = json.loads((data / "mctf_ops.json").read_text())[case]
    tokens_in, tokens_out = options.pop("tokens_in"), options.pop("tokens_out")
    options["pooling"] = POOLING[options["pooling"]]
    x = vectors[f"{case}.x"]
    assert x.shape[1] == tokens_in
    fused = mctf.fuse(x, vectors[f"{case}.attn"], vectors.get(f"{case}.size"), **options)
    assert fused.x.shape[1] == tokens_out
    torch.testing.assert_close(fused.x, vectors[f"{case}.y"], atol=1e-5, rtol=0)
    torch.testing.assert_close(fused.attn, vectors[f"{case}.attn_out"], atol=1e-5, rtol=0)
    assert torch.equal(fused.size, vectors[f"{case}.size_out"])
    assert torch.equal(fused.source, vectors[f"{case}.source"])


def _pair(scale: float = 1.0) -> torch.Tensor:
    """Twelve tokens: a class token, ten orthogonal ones, and token 11 equal to token 10 up to `scale`."""
    x = torch.eye(12)[None].clone()
    x[0, 11] = scale * x[0, 10]
    return x


def test_the_most_similar_pair_is_fused() -> None:
    fused = mctf.fuse(_pair(), torch.full((1, 1, 12, 12), 1 / 12), r=1, pooling="mean", bidirectional=False)
    assert fused.x.shape == (1, 11, 12)
    both = fused.source[0].sum(dim=1).argmax()
    assert fused.source[0, both].nonzero().flatten().tolist() == [10, 11]
    assert fused.size[0, both] == 2
    assert torch.equal(fused.x[0, both], _pair()[0, 10])


@pytest.mark.parametrize(
    ("pooling", "expected"),
    # Token 10 is 1 and token 11 is 3 in channel 10; attention received 0.25 and 0.75; sizes 1 and 4.
    [
        ("mean", 2.0),
        ("max", 3.0),
        ("size", (1 + 4 * 3) / 5),
        ("attention", (0.25 + 0.75 * 4 * 3) / (0.25 + 0.75 * 4)),
    ],
)
def test_poolings(pooling: mctf.Pooling, expected: float) -> None:
    received = torch.full((12,), 0.5)
    received[10], received[11] = 0.25, 0.75
    attn = received.expand(1, 1, 12, 12)
    size = torch.ones(1, 12, 1)
    size[0, 11] = 4
    fused = mctf.fuse(
        _pair(3.0), attn, size, r=1, tau_info=0, tau_size=0, bidirectional=False, pooling=pooling
    )
    both = fused.source[0].sum(dim=1).argmax()
    assert fused.x[0, both, 10].item() == pytest.approx(expected)


@pytest.mark.parametrize(("pooling", "expected"), [("mean", 2.0), ("max", 3.0)])
def test_a_block_pools_as_it_is_told(pooling: mctf.Pooling, expected: float) -> None:
    reducer = mctf.MctfReducer(1, (0,), bidirectional=False, pooling=pooling)
    step = reducer.step(0, Bare(), Tokens(_pair(3.0), 12), Layout(1, 0, slice(0, 1)))
    assert step.size is not None
    assert step.x[0, step.size[0, :, 0].argmax(), 10].item() == pytest.approx(expected)


def test_attention_drops_out_in_training() -> None:
    x, attn, places = torch.ones(1, 3, 2), torch.full((1, 1, 3, 3), 1 / 3), torch.arange(3)[None]
    torch.testing.assert_close(mctf._attend(Bare(), x, attn, places), x)
    assert not mctf._attend(Bare(dropout=1.0), x, attn, places).any()


def test_criteria_prefer_the_unattended_and_the_small() -> None:
    x = torch.ones(1, 12, 4)
    received, size = torch.ones(1, 12), torch.ones(1, 12, 1)
    received[0, 4] = 2  # even: its row of pairs loses a factor of 2^(1/20)
    size[0, 7] = 3  # odd: its column loses 3^(1/40)
    scores = mctf.criteria_scores(x, received, size, (1, 20, 40))[0]
    assert scores[0, 0].item() == pytest.approx(1.0)
    assert scores[2, 0].item() == pytest.approx(2 ** (-1 / 20))
    assert scores[0, 3].item() == pytest.approx(3 ** (-1 / 40))


def test_fused_attention_rows_still_sum_to_one() -> None:
    torch.manual_seed(0)
    fused = mctf.fuse(torch.randn(2, 30, 8), torch.randn(2, 3, 30, 30).softmax(-1), r=9)
    torch.testing.assert_close(fused.attn.sum(-1), torch.ones(2, 3, 21))


def test_several_protected_tokens_stay_in_front() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 37, 8)
    fused = mctf.fuse(x, torch.randn(2, 3, 37, 37).softmax(-1), r=16, num_protected=5)
    assert torch.equal(fused.x[:, :5], x[:, :5])
    assert fused.x.shape[1] == 21


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": -1}, "r is -1"),
        ({"pooling": "median"}, "pooling is 'median'; choose"),
        ({"tau_info": -2}, "taus are"),
    ],
)
def test_mistakes_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mctf.fuse(_pair(), torch.full((1, 1, 12, 12), 1 / 12), **options)


def test_nothing_to_fuse_keeps_everything() -> None:
    x, attn = torch.randn(2, 12, 4), torch.randn(2, 1, 12, 12).softmax(-1)
    fused = mctf.fuse(x, attn, r=0)
    assert torch.equal(fused.x, x)
    torch.testing.assert_close(fused.attn, attn)
    assert mctf.fuse(x[:, :3], attn[:, :, :3, :3], r=16).x.shape[1] == 3  # never below 10


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("num_protected", [0, 1, 2])
def test_a_compiler_sees_one_operator(bidirectional: bool, num_protected: int) -> None:
    torch.manual_seed(0)
    x, received, size = torch.randn(2, 20, 8), torch.rand(2, 20), torch.ones(2, 20, 1)
    options = (5, 1.0, 20.0, 40.0, bidirectional, num_protected)
    torch.library.opcheck(mctf._plan_op, (x, received, size, *options))
    seen: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        seen.append(graph)
        return graph

    whole = torch.compile(mctf.plan, backend=keep, fullgraph=True)
    found = whole(x, received, size, 5, (1, 20, 40), bidirectional, num_protected)
    for ours, plain in zip(
        found, mctf.plan(x, received, size, 5, (1, 20, 40), bidirectional, num_protected), strict=True
    ):
        assert torch.equal(ours, plain)
    calls = [str(node.target) for node in seen[0].graph.nodes if node.op == "call_function"]
    assert [each for each in calls if "onedpiece" in each] == ["onedpiece.mctf_plan.default"]
    assert not any("sort" in each for each in calls)
