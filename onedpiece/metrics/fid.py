"""rFID: the Fréchet distance between photos and their reconstructions in a network's feature space."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

MIN_SAMPLES = 2000
"""Below this the covariance of 2048 features is rank-deficient, and the number is mostly the count's."""

Features = Callable[[Tensor], Tensor]
"""(B, 3, H, W) in [0, 1] -> (B, D)."""


class FidScore(NamedTuple):
    """An rFID and the number of photos behind it, which belongs beside it wherever it is printed."""

    value: float
    samples: int

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.samples} images)"


class Moments:
    """Mean and covariance of features, gathered batch by batch in float64."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: Tensor = torch.zeros(0, dtype=torch.float64)
        self._outer: Tensor = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        """Take in a batch of features, (B, D)."""
        batch = features.detach().to("cpu", torch.float64)
        if self.count == 0:
            width = batch.shape[1]
            self._sum, self._outer = batch.new_zeros(width), batch.new_zeros(width, width)
        self.count += len(batch)
        self._sum += batch.sum(0)
        self._outer += batch.T @ batch

    @property
    def mean(self) -> Tensor:
        """The mean, (D,)."""
        return self._sum / self.count

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance, (D, D)."""
        return (self._outer - self.count * torch.outer(self.mean, self.mean)) / (self.count - 1)


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """Return ‖mean_a − mean_b‖² + tr(cov_a + cov_b − 2·(cov_a·cov_b)^½) for (D,) means, (D, D) covariances.

    Heusel et al. 2017 (arXiv 1706.08500), equation 6.
    """
    eigenvalues = torch.linalg.eigvals(cov_a @ cov_b)
    # The product of two covariances has real eigenvalues at or above zero; what else there is, is rounding.
    cross = eigenvalues.real.clamp(min=0).sqrt().sum()
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross)


def rfid(originals: Moments, reconstructions: Moments) -> FidScore:
    """Return the rFID of reconstructions against their originals.

    Raises:
        ValueError: fewer than MIN_SAMPLES photos, or unequal counts.
    """
    if originals.count != reconstructions.count:
        raise ValueError(
            f"rFID compares equal sets, not {originals.count} and {reconstructions.count} images"
        )
    if originals.count < MIN_SAMPLES:
        raise ValueError(f"rFID of {originals.count} images means nothing; give at least {MIN_SAMPLES}")
    value = frechet_distance(
        originals.mean, originals.covariance, reconstructions.mean, reconstructions.covariance
    )
    return FidScore(value, originals.count)


def inception_features() -> Features:
    """Return the 2048 features of the FID's own Inception network, which torch-fidelity fetches by name.

    Raises:
        ModuleNotFoundError: torch-fidelity is not installed; the message says how.
        MissingWeightsError: its weights cannot be had.
    """
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3
    except ImportError as error:
        raise ModuleNotFoundError("rFID needs torch-fidelity: pip install torch-fidelity") from error
    from onedpiece.metrics.lpips import missing_weights

    try:
        network = NoTrainInceptionV3(name="inception-v3-compat", features_list=["2048"])
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("rFID needs torch-fidelity: pip install torch-fidelity") from error
    except (OSError, RuntimeError) as error:
        raise missing_weights("the FID's Inception network", error) from error

    def features(images: Tensor) -> Tensor:
        """Return (B, 2048) for (B, 3, H, W) in [0, 1]."""
        result: Tensor = network((images.clamp(0, 1) * 255).round().to(torch.uint8))
        return result

    return features
