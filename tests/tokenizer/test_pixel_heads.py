from dataclasses import replace

import pytest
import torch
from torch import Tensor

from onedpiece.tokenizer import TokenizerConfig
from onedpiece.tokenizer.pixel_heads import LinearHead, PatchHead

CONFIG = TokenizerConfig(image_size=64, width=32, heads=2, linear_size=16)  # 4 × 4 patches of 16 × 16 pixels
HEADS = {"patch": PatchHead, "shuffle": PatchHead, "linear": LinearHead}


def head(kind: str, linear_path: bool = True) -> PatchHead | LinearHead:
    torch.manual_seed(0)
    return HEADS[kind](replace(CONFIG, pixel_head=kind, linear_path=linear_path))


def moved_pixels(kind: str) -> Tensor:
    """(64, 64) bool: where the picture changes with the features of the patch in row 1, column 1."""
    network = head(kind, linear_path=False)
    features = torch.randn(1, 32, 4, 4)
    other = features.clone()
    other[0, :, 1, 1] += 1
    with torch.no_grad():
        return (network(features) - network(other)).abs().amax((0, 1)) > 0


@pytest.mark.parametrize("kind", HEADS)
def test_starts_with_nothing_to_add_to_the_linear_picture(kind: str) -> None:
    assert torch.equal(head(kind)(torch.randn(2, 32, 4, 4)), torch.zeros(2, 3, 64, 64))


@pytest.mark.parametrize("kind", HEADS)
def test_starts_around_mid_grey_without_one(kind: str) -> None:
    picture = head(kind, linear_path=False)(0.1 * torch.randn(2, 32, 4, 4)).detach()
    assert picture.shape == (2, 3, 64, 64)
    assert float(picture.mean()) == pytest.approx(0.5, abs=0.1)


def test_a_linear_head_is_blind_across_patches() -> None:
    moved = moved_pixels("linear")
    assert bool(moved[16:32, 16:32].all())
    assert int(moved.sum()) == 16 * 16


@pytest.mark.parametrize(
    ("kind", "reach"),
    [
        ("shuffle", 12),  # three 3×3 convolutions at a quarter of the resolution: 3 · 4 pixels
        ("patch", 13),  # and one at full resolution: one more
    ],
)
def test_convolutions_reach_over_the_borders(kind: str, reach: int) -> None:
    moved = moved_pixels(kind)
    rows = moved.any(1).nonzero().flatten()
    assert (int(rows.min()), int(rows.max())) == (16 - reach, 31 + reach)
