"""Every reducer can be asked for the same part of the tokens."""

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from onedpiece.retokenize import apply, trace
from onedpiece.retokenize.api import ratio_to_options

NAMES = ["mctf", "tome", "evit", "imagepiece", "slimming"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keep_ratio", [0.5, 0.75])
def test_about_the_ratio_is_left(
    make_vit: Callable[..., nn.Module], pictures: Tensor, name: str, keep_ratio: float
) -> None:
    vit = apply(make_vit(), name, keep_ratio=keep_ratio)
    left = trace(vit, pictures).states[-1].x.shape[1] - 1
    assert abs(left - 64 * keep_ratio) <= 2  # a rounded r in each of 4 layers, or EViT's fused token


def test_the_paper_schedule_comes_out_at_depth_12() -> None:
    options = ratio_to_options("imagepiece", 0.343, 12, 196)
    assert options["schedule"] == ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    assert options["keep_rate"] == pytest.approx(0.7)  # 0.7³ = 0.343
    assert ratio_to_options("mctf", 20 / 196, 12, 196) == {"r": 16}  # 11·16 = 176 of 196
    assert ratio_to_options("evit", 0.343, 12, 196)["layers"] == (3, 6, 9)


@pytest.mark.parametrize("depth", range(1, 25))
@pytest.mark.parametrize("name", NAMES)
def test_schedules_fit_any_depth(name: str, depth: int) -> None:
    options = ratio_to_options(name, 0.5, depth, 196)
    layers = list(options.get("layers", ())) + [n for round_ in options.get("schedule", ()) for n in round_]
    assert layers == sorted(set(layers))
    assert all(0 <= layer < depth for layer in layers)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="keep_ratio is 0"):
        ratio_to_options("tome", 0, 12, 196)
    with pytest.raises(ValueError, match="mustdrop leaves no fixed part"):
        ratio_to_options("mustdrop", 0.5, 12, 196)


def test_a_ratio_comes_without_options(make_vit: Callable[..., nn.Module]) -> None:
    with pytest.raises(ValueError, match="keep_ratio chooses the options itself; leave r out"):
        apply(make_vit(), "tome", keep_ratio=0.5, r=3)
