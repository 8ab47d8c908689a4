"""The coherence stem keeps the number of tokens, and looks beyond a patch."""

import pytest
import torch
from torch import nn

from onedpiece.retokenize.stem import CoherenceStem, with_coherence_stem


def test_one_token_for_each_patch() -> None:
    stem = CoherenceStem(32).eval()
    assert stem(torch.zeros(2, 3, 64, 48)).shape == (2, 32, 4, 3)


def test_a_token_sees_its_neighbour_and_a_patch_projection_does_not() -> None:
    torch.manual_seed(0)
    stem = CoherenceStem(32).eval()
    black, dot = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    dot[..., 8:16, 8:16] = 1  # inside the first patch
    changed = (stem(dot) - stem(black)).abs().amax(dim=1)[0].flatten() > 1e-6
    assert changed[0]
    assert changed[1]  # the patch right of it


def test_goes_into_a_timm_model() -> None:
    timm = pytest.importorskip("timm")
    vit = timm.models.VisionTransformer(
        img_size=64, patch_size=16, embed_dim=48, depth=1, num_heads=3, num_classes=5
    )
    assert with_coherence_stem(vit) is vit
    assert vit(torch.zeros(2, 3, 64, 64)).shape == (2, 5)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="embed_dim is 30"):
        CoherenceStem(30)
    with pytest.raises(ValueError, match="Linear has no patch projection of size 16"):
        with_coherence_stem(nn.Linear(1, 1))
