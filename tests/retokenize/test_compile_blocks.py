"""Blocks compiled once for every number of tokens."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from onedpiece.retokenize import apply, compile_blocks, remove, trace

Make = Callable[..., Any]


def counting(backend: str = "aot_eager") -> CompileCounterWithBackend:
    """A backend that counts what it compiles; both compute the same numbers as the plain blocks."""
    return CompileCounterWithBackend(backend)


@pytest.mark.parametrize(
    ("name", "options", "most"),
    [
        ("mctf", {"r": 8}, 2),  # layer 0, and the others
        ("mctf", {"r": 8, "layers": (1, 3)}, 3),  # with ones before and after the first merge
        ("mctf", {"r": 0.2}, 2),
        ("tome", {"r": 6}, 2),  # with even and odd numbers of tokens
        ("tome", {"r": 6, "restore": True}, 2),
    ],
)
def test_few_compilations_say_what_the_plain_blocks_say(
    make_vit: Make, pictures: Tensor, name: str, options: dict[str, Any], most: int
) -> None:
    torch._dynamo.reset()
    vit, counter = apply(make_vit(), name, **options), counting()
    with torch.no_grad():
        expected = vit(pictures)
        assert compile_blocks(vit, backend=counter) is vit
        torch.testing.assert_close(vit(pictures), expected, atol=1e-4, rtol=0)
        compiled = counter.frame_count
        assert 1 <= compiled <= most
        torch.testing.assert_close(vit(pictures), expected, atol=1e-4, rtol=0)
        assert counter.frame_count == compiled
        torch.testing.assert_close(trace(vit, pictures).output, expected, atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of what dynamo looks at
def test_gradients_are_those_of_the_plain_blocks(make_vit: Make, pictures: Tensor) -> None:
    torch._dynamo.reset()
    vit = apply(make_vit(), "mctf", r=8)
    plain = torch.autograd.grad(vit(pictures).square().sum(), list(vit.parameters()))
    compile_blocks(vit, backend="aot_eager")
    compiled = torch.autograd.grad(vit(pictures).square().sum(), list(vit.parameters()))
    for ours, theirs in zip(compiled, plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_copies_and_what_is_applied_later_start_plain(make_vit: Make, pictures: Tensor) -> None:
    torch._dynamo.reset()
    vit, counter = apply(make_vit(), "tome", r=6), counting()
    compile_blocks(vit, backend=counter)
    with torch.no_grad():
        expected = copy.deepcopy(vit)(pictures)
        assert counter.frame_count == 0
        torch.testing.assert_close(vit(pictures), expected, atol=1e-4, rtol=0)
        before = counter.frame_count
        apply(remove(vit), "tome", r=6)(pictures)
    assert counter.frame_count == before > 0
    assert vit.blocks.__getstate__()["_compiled"] is None
    with pytest.raises((pickle.PicklingError, AttributeError)):  # so that the line above is what saves copies
        pickle.dumps(compile_blocks(vit).blocks._compiled)


@pytest.mark.slow
def test_several_models_are_compiled_beside_each_other(make_vit: Make, pictures: Tensor) -> None:
    torch._dynamo.reset()
    for r in range(1, 6):  # with one count of recompilations for all, the eighth would give up
        vit, counter = apply(make_vit(), "mctf", r=r), counting("eager")
        with torch.no_grad():
            expected = vit(pictures)
            found = compile_blocks(vit, backend=counter)(pictures)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
        assert counter.frame_count == 2


def test_others_are_refused(make_vit: Make) -> None:
    with pytest.raises(ValueError, match=r"EvitReducer does other work in other layers; use torch\.compile"):
        compile_blocks(apply(make_vit(), "evit", layers=(1, 2)))
    with pytest.raises(ValueError, match="no reducer is applied"):
        compile_blocks(make_vit())
