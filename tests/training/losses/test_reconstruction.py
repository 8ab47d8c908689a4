from typing import Any

import pytest
import torch

from onedpiece.training.losses.reconstruction import (
    Decoded,
    LossWeights,
    PixelConfig,
    TokenizerLoss,
    pixel_loss,
)


def test_mix_by_hand() -> None:
    target = torch.zeros(1, 3, 2, 2)
    image = torch.full_like(target, 0.5)
    # 2 · 0.5 + 4 · 0.25
    assert pixel_loss(image, target, PixelConfig(l1=2.0, l2=4.0)).item() == pytest.approx(2.0)
    assert pixel_loss(image, target, PixelConfig(l1=0.0, l2=4.0)).item() == pytest.approx(1.0)


def test_gradient_reaches_pixels_out_of_range() -> None:
    image = torch.full((1, 3, 2, 2), 1.5, requires_grad=True)
    pixel_loss(image, torch.ones(1, 3, 2, 2), PixelConfig()).backward()
    assert image.grad is not None
    assert (image.grad > 0).all()


def test_half_precision_is_summed_in_float32() -> None:
    image = torch.zeros(1, 3, 4, 4, dtype=torch.bfloat16)
    assert pixel_loss(image, torch.ones(1, 3, 4, 4), PixelConfig()).dtype == torch.float32


def test_all_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="pixel"):
        PixelConfig(l1=0.0, l2=0.0)


class Judge:
    """Finds a two as a metric network, a three as a discriminator, and counts how often it was asked."""

    asked = 0

    def __call__(self, *_: object) -> torch.Tensor:
        self.asked += 1
        return torch.tensor(2.0)

    def generator_loss(self, _: object) -> torch.Tensor:
        self.asked += 1
        return torch.tensor(3.0)


@pytest.mark.parametrize(
    ("weights", "expected", "asked"),
    [
        # Two decodings of weight ½ and 2: l1 ½ · ½ + 2 · 1, LPIPS 0.1 · (½ · 2 + 2 · 2), the discriminator
        # 0.2 · (½ · 3 + 2 · 3), the quantizer ¼ · 4.
        (LossWeights(0.1, 0.2, 0.25), (2.25, 0.5, 1.5, 1.0), 4),
        (LossWeights(0.0, 0.0, 1.0), (2.25, 0.0, 0.0, 4.0), 0),
    ],
)
def test_terms_of_a_step_by_hand(weights: LossWeights, expected: tuple[float, ...], asked: int) -> None:
    judge: Any = Judge()
    target = torch.zeros(1, 3, 2, 2)
    decoded = [Decoded(0.5, target + 0.5), Decoded(2.0, target + 1)]
    loss = TokenizerLoss(PixelConfig(), judge, judge)
    terms = loss(decoded, target, torch.tensor(4.0), weights, torch.Generator())
    assert [float(term) for term in terms] == pytest.approx(expected)
    assert float(terms.total) == pytest.approx(sum(expected))
    assert judge.asked == asked
