"""Every reducer can be asked for the same share of tokens."""

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from onedpiece.retokenize import apply_share, trace
from onedpiece.retokenize.api import options_for_share

NAMES = ["mctf", "tome", "evit", "imagepiece", "slimming"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.5, 0.75])
def test_about_the_share_is_left(
    make_vit: Callable[..., nn.Module], pictures: Tensor, name: str, share: float
) -> None:
    vit = apply_share(make_vit(), name, share)
    left = trace(vit, pictures).states[-1].x.shape[1] - 1
    assert abs(left - 64 * share) <= 2  # a rounded r in each of 4 layers, or EViT's fused token


def test_the_paper_schedule_comes_out_at_depth_12() -> None:
    options = options_for_share("imagepiece", 0.343, 12, 196)
    assert options["rounds"] == ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    assert options["keep"] == pytest.approx(0.7)  # 0.7³ = 0.343
    assert options_for_share("mctf", 20 / 196, 12, 196) == {"r": 16}  # 11·16 = 176 of 196
    assert options_for_share("evit", 0.343, 12, 196)["layers"] == (3, 6, 9)


@pytest.mark.parametrize("depth", range(1, 25))
@pytest.mark.parametrize("name", NAMES)
def test_schedules_fit_any_depth(name: str, depth: int) -> None:
    options = options_for_share(name, 0.5, depth, 196)
    layers = list(options.get("layers", ())) + [n for turns in options.get("rounds", ()) for n in turns]
    assert layers == sorted(set(layers))
    assert all(0 <= layer < depth for layer in layers)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="share is 0"):
        options_for_share("tome", 0, 12, 196)
    with pytest.raises(ValueError, match="mustdrop leaves no fixed share"):
        options_for_share("mustdrop", 0.5, 12, 196)
