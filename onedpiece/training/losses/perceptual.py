"""LPIPS or ConvNeXt as a loss: under several random views, by one network or more, late and small."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from onedpiece.metrics.perceptual import ConvNeXtDistance, Lpips, Net
from onedpiece.training.augment import crop_resize, sample_crop
from onedpiece.training.optimizer import ramp


@dataclass(frozen=True)
class PerceptualConfig:
    """Strength and shape of the perceptual loss.

    Attributes:
        weight: of the loss; 0: no network is built, none is fetched.
        nets: whose distances count; leave one out, to have one to judge by.
        start: share of the run before it counts: pixels first.
        ramp: share of the run over which it grows to `weight`.
        views: random views a step; 0: the whole picture as it is.
        view_size: side of a view in pixels: a quarter of the cost of the picture.
        min_scale: smallest part of the picture's side that a view may show.

    Raises:
        ValueError: on construction, no network, or a number out of range.
    """

    weight: float = 0.0
    nets: tuple[Net | Literal["convnext"], ...] = ("squeeze",)
    start: float = 0.0
    ramp: float = 0.1
    views: int = 2
    view_size: int = 128
    min_scale: float = 0.4

    def __post_init__(self) -> None:
        if self.weight < 0 or self.views < 0 or self.view_size < 32 or not 0 < self.min_scale <= 1:
            raise ValueError(
                "perceptual needs weight ≥ 0, views ≥ 0, view_size ≥ 32 (the networks' smallest) and "
                "0 < min_scale ≤ 1"
            )
        if self.weight > 0 and not self.nets:
            raise ValueError("perceptual.nets is empty; name a network or set perceptual.weight to 0")

    def weight_at(self, progress: float) -> float:
        """Return the weight at `progress` in [0, 1]."""
        return self.weight * ramp(progress, self.start, self.ramp)


class PerceptualLoss:
    """The mean distance over views and networks.

    Views are E-LPIPS's cure (arXiv 1906.03973): a network that sees a picture at one place and scale only
    rewards texture that has the period of its own grid, which eyes and classifiers reject.

    Args:
        config: which networks and views.
    """

    def __init__(self, config: PerceptualConfig) -> None:
        self.config = config
        self._networks = [ConvNeXtDistance() if net == "convnext" else Lpips(net) for net in config.nets]

    def __call__(self, image: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        """Return a scalar.

        Args:
            image: (B, 3, S, S), not clamped; differentiable.
            target: (B, 3, S, S) in [0, 1].
            generator: of the views, on the CPU.
        """
        distances = [
            network(wanted, seen).mean()
            for seen, wanted in self._views(image, target, generator)
            for network in self._networks
        ]
        return torch.stack(distances).mean()

    def _views(
        self, image: Tensor, target: Tensor, generator: torch.Generator
    ) -> list[tuple[Tensor, Tensor]]:
        if self.config.views == 0:
            return [(image, target)]
        size, out = image.shape[-1], self.config.view_size
        crops = [sample_crop(size, out, self.config.min_scale, generator) for _ in range(self.config.views)]
        return [(crop_resize(image.float(), crop), crop_resize(target, crop)) for crop in crops]
