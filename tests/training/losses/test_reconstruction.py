import pytest
import torch

from onedpiece.training.losses.reconstruction import PixelConfig, pixel_loss


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
