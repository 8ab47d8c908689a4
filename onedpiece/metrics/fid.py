"""rFID: the Fréchet distance between photos and their reconstructions in a network's feature space."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from onedpiece.errors import MissingExtraError
from onedpiece.metrics.perceptual import fetching

MIN_SAMPLES = 2000
"""Below this the covariance of 2048 features is rank-deficient, and the number is mostly the count's."""

_EXTRA = "rFID needs torch-fidelity: pip install torch-fidelity"


class FidScore(NamedTuple):
    """An rFID and the number of photos behind it, which belongs beside it wherever it is printed."""

    value: float
    samples: int

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.samples} images)"


class ReconstructionFid:
    """The rFID of reconstructions against their originals, batch by batch, by torchmetrics.

    Heusel et al. 2017 (arXiv 1706.08500), equation 6.

    Args:
        network: (B, 3, H, W) uint8 -> (B, D) features; with an attribute `num_features`, D.
    """

    def __init__(self, network: nn.Module) -> None:
        from torchmetrics.image.fid import FrechetInceptionDistance

        self._fid: Any = FrechetInceptionDistance(feature=network)

    def update(self, originals: Tensor, reconstructions: Tensor) -> None:
        """Take in a batch of photos and one of their reconstructions, (B, 3, H, W) each, in [0, 1]."""
        for images, real in ((originals, True), (reconstructions, False)):
            self._fid.update((images.clamp(0, 1) * 255).round().to(torch.uint8), real=real)

    def compute(self) -> FidScore:
        """Return the rFID over all that was taken in.

        Raises:
            ValueError: fewer than MIN_SAMPLES photos.
        """
        samples = int(self._fid.real_features_num_samples)
        if samples < MIN_SAMPLES:
            raise ValueError(f"rFID of {samples} images means nothing; give at least {MIN_SAMPLES}")
        return FidScore(float(self._fid.compute()), samples)


def inception_network() -> nn.Module:
    """Return the FID's own Inception network of 2048 features, which torch-fidelity fetches by name.

    Raises:
        MissingExtraError: torch-fidelity is not installed; the message says how.
        MissingWeightsError: its weights cannot be had.
    """
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3

        with fetching("the FID's Inception network"):
            network: Any = NoTrainInceptionV3(name="inception-v3-compat", features_list=["2048"])
    except ImportError as error:
        raise MissingExtraError(_EXTRA) from error
    network.num_features = 2048
    return network  # type: ignore[no-any-return]
