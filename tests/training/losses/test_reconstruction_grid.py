import pytest
import torch

from onedpiece.training.losses.reconstruction import PixelConfig, blocking_loss, pixel_loss


def pattern(amplitude: float) -> torch.Tensor:
    """A 16 × 16 checkerboard of ± amplitude: mean 0, mean square amplitude²."""
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    return amplitude * (2.0 * board - 1)


def test_a_texture_with_the_patches_period_counts_in_full() -> None:
    error = pattern(0.1).repeat(16, 16).expand(2, 3, 256, 256)
    # every patch is the same, so the mean over a window is the pattern: 0.1² = 0.01
    assert blocking_loss(error).item() == pytest.approx(0.01, rel=1e-5)


def test_a_texture_that_changes_sign_from_patch_to_patch_does_not() -> None:
    signs = pattern(1.0)[:16, :16]  # 8 patches of each sign in a window of 16
    error = torch.kron(signs, pattern(0.1)).expand(1, 3, 256, 256)
    assert blocking_loss(error).item() < 1e-12


def test_patches_of_one_colour_do_not_count() -> None:
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(2, 3, 16, 16, generator=generator)
    error = torch.nn.functional.interpolate(colours, scale_factor=16.0)
    assert blocking_loss(error).item() < 1e-12


def test_a_texture_in_one_window_counts_for_its_share() -> None:
    error = torch.zeros(1, 3, 256, 256)
    error[..., :64, :64] = pattern(0.1).repeat(4, 4)
    # one window of 4 · 4: 0.01 / 16
    assert blocking_loss(error).item() == pytest.approx(0.01 / 16, rel=1e-5)


def test_noise_counts_for_a_sixteenth() -> None:
    generator = torch.Generator().manual_seed(0)
    error = torch.randn(4, 3, 256, 256, generator=generator)
    # the mean over 16 patches has a sixteenth of the variance; 4 · 3 · 16 · 256 = 49,152 values: ±1.5 %
    assert blocking_loss(error).item() == pytest.approx(1 / 16, rel=0.02)


def test_small_pictures_are_one_window() -> None:
    error = pattern(0.1).repeat(2, 2).expand(1, 3, 32, 32)
    assert blocking_loss(error).item() == pytest.approx(0.01, rel=1e-5)


def test_a_side_that_no_patch_divides_is_named() -> None:
    with pytest.raises(ValueError, match=r"multiples of 16 pixels, got 40"):
        blocking_loss(torch.zeros(1, 3, 40, 40))


def test_it_is_added_to_the_pixel_loss_by_its_weight() -> None:
    target = torch.full((1, 3, 256, 256), 0.5)
    image = target + pattern(0.1).repeat(16, 16)
    # l1: 0.1; grid: 200 · 0.01 = 2
    assert pixel_loss(image, target, PixelConfig(l1=1.0, blocking=200.0)).item() == pytest.approx(
        2.1, rel=1e-4
    )
