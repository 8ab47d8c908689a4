import pytest
import torch
from torch import Tensor, nn

from onedpiece.metrics.fid import MIN_SAMPLES, ReconstructionFid


class _FirstPixels(nn.Module):
    """The red values of a picture's first two pixels."""

    num_features = 2

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        return images[:, 0, 0, :2].float()


def _pictures(features: Tensor) -> Tensor:
    pictures = torch.zeros(len(features), 3, 1, 2)
    pictures[:, 0, 0] = features / 255
    return pictures


def test_distance_of_two_gaussians_by_hand() -> None:
    # Levels 50 ± 1 and 50 ± 2, uncorrelated; 53 ± 2 and 50 ± 3. Means 3 apart in one axis: 9. Variances, of n
    # pairs, (1, 4) and (4, 9) times n / (n - 1): Σ(√a − √b)² = (1−2)² + (2−3)² = 2 of those. In all about 11.
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).repeat(MIN_SAMPLES // 4, 1)
    originals = _pictures(50 + signs * torch.tensor([1.0, 2.0]))
    reconstructions = _pictures(50 + signs * torch.tensor([2.0, 3.0]) + torch.tensor([3.0, 0.0]))
    fid = ReconstructionFid(_FirstPixels())
    for pair in zip(originals.split(300), reconstructions.split(300), strict=True):
        fid.update(*pair)
    score = fid.compute()
    assert score.value == pytest.approx(9 + 2 * MIN_SAMPLES / (MIN_SAMPLES - 1), abs=1e-4)
    assert str(score) == "11.00 (2000 images)"


def test_values_are_rounded_to_8_bits_not_cut() -> None:
    pictures = _pictures(torch.full((MIN_SAMPLES, 2), 50.0))
    fid = ReconstructionFid(_FirstPixels())
    fid.update(pictures, pictures - 0.4 / 255)  # rounds to the same level, would be cut to the one below
    assert fid.compute().value == pytest.approx(0, abs=1e-6)


def test_values_past_white_are_white_and_do_not_wrap_around() -> None:
    white = _pictures(torch.full((MIN_SAMPLES, 2), 255.0))
    fid = ReconstructionFid(_FirstPixels())
    fid.update(white, white + 3 / 255)
    assert fid.compute().value == pytest.approx(0, abs=1e-6)


def test_rfid_is_refused_for_few_images() -> None:
    fid = ReconstructionFid(_FirstPixels())
    few = _pictures(torch.ones(MIN_SAMPLES - 1, 2))
    fid.update(few, few)
    with pytest.raises(ValueError, match="rFID of 1999 images means nothing; give at least 2000"):
        fid.compute()
