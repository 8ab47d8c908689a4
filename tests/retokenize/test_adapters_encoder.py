"""`apply` on our own encoder: patches are reduced, latents never."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from onedpiece.retokenize import apply, trace
from onedpiece.retokenize.adapters import find_site
from onedpiece.retokenize.block import Layout
from onedpiece.tokenizer import Tokenizer

LATENTS = 16
# Patches left of 64, in 3 layers.
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "mctf": ({"r": 10}, 44),  # 64 - 2·10
    "tome": ({"r": 10}, 34),  # 64 - 3·10
    "evit": ({"keep_rate": 0.5, "layers": (1,)}, 33),  # 32 and the fused one
    "imagepiece": ({"keep_rate": 0.5, "schedule": ((1, 2),)}, 32),
    "mustdrop": ({"threshold": -1.0, "window": 4}, 4),
    "slimming": ({"layers": (1, 2)}, 16),
}


@pytest.fixture
def tokenizer(stirred_tokenizer: Callable[..., Tokenizer]) -> Tokenizer:
    return stirred_tokenizer(
        image_size=64,
        num_tokens=LATENTS,
        width=48,
        heads=3,
        encoder_layers=3,
        fsq_grades=((LATENTS, (8, 8, 8, 8)),),
        linear_size=32,
    )


@pytest.fixture
def photos() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def _latents(tokenizer: Tokenizer, photos: Tensor) -> Tensor:
    """What the encoder says before the quantizer rounds differences away."""
    with torch.no_grad():
        return tokenizer.encoder(photos, tokenizer.latent_tokens, torch.zeros(2, LATENTS, 4))


@pytest.mark.parametrize("name", CASES)
def test_patches_go_and_latents_stay(tokenizer: Tokenizer, photos: Tensor, name: str) -> None:
    options, left = CASES[name]
    before = _latents(tokenizer, photos)
    apply(tokenizer, name, **options)
    traced = trace(tokenizer, photos)
    last = traced.states[-1]
    assert last.x.shape[1] == 1 + left + LATENTS
    assert last.source is not None
    assert torch.equal(last.source[:, -LATENTS:, -LATENTS:], torch.eye(LATENTS).expand(2, -1, -1))
    assert last.source[:, -LATENTS:, :-LATENTS].abs().sum() == 0
    after = _latents(tokenizer, photos)
    assert after.shape == before.shape
    assert not torch.equal(after, before)
    tokenizer.remove()  # type: ignore[operator]
    assert torch.equal(_latents(tokenizer, photos), before)


def test_nothing_removed_changes_nothing(tokenizer: Tokenizer, photos: Tensor) -> None:
    before, state = tokenizer.tokenize(photos), list(tokenizer.state_dict())
    apply(tokenizer, "tome", r=0)
    assert torch.equal(tokenizer.tokenize(photos), before)
    assert list(tokenizer.state_dict()) == state


def test_the_latents_say_which_patches_are_important(tokenizer: Tokenizer) -> None:
    site = find_site(tokenizer)
    assert site.layout == Layout(1, LATENTS, score_tokens=slice(-LATENTS, None), pad=True)
    assert (site.num_free, site.dim) == (64, 48)
