import pytest
import torch

from onedpiece.metrics.fid import MIN_SAMPLES, Moments, frechet_distance, rfid


def test_frechet_distance_of_diagonal_gaussians() -> None:
    # Means 3 apart in one axis: 9. Diagonals (1, 4) and (4, 9): Σ(√a − √b)² = (1−2)² + (2−3)² = 2. In all 11.
    value = frechet_distance(
        torch.tensor([0.0, 0.0], dtype=torch.float64),
        torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)),
        torch.tensor([3.0, 0.0], dtype=torch.float64),
        torch.diag(torch.tensor([4.0, 9.0], dtype=torch.float64)),
    )
    assert value == pytest.approx(11.0)


def test_moments_by_batches_equal_those_at_once() -> None:
    features = torch.randn(100, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 2
    moments = Moments()
    for batch in features.split(33):
        moments.add(batch)
    torch.testing.assert_close(moments.mean, features.mean(0))
    torch.testing.assert_close(moments.covariance, torch.cov(features.T))


def _gathered(features: torch.Tensor) -> Moments:
    moments = Moments()
    moments.add(features)
    return moments


def test_rfid_carries_the_number_of_samples() -> None:
    features = torch.randn(MIN_SAMPLES, 4, generator=torch.Generator().manual_seed(0))
    score = rfid(_gathered(features), _gathered(features + 1))
    # A shift by 1 in each of 4 axes and nothing else: 4.
    assert score.value == pytest.approx(4.0, abs=1e-3)
    assert str(score) == "4.00 (2000 images)"


def test_rfid_is_refused_for_few_images() -> None:
    few = _gathered(torch.randn(MIN_SAMPLES - 1, 4, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ValueError, match="rFID of 1999 images means nothing; give at least 2000"):
        rfid(few, few)
