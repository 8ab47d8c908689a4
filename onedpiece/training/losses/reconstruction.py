"""The tokenizer's loss over everything that one step decodes.

The distance between pixels, and the error that repeats from patch to patch: the texture by which LPIPS is
fooled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from onedpiece.training.losses.adversarial import Adversary
from onedpiece.training.losses.perceptual import PerceptualLoss

PERIOD = 16
"""Pixels; the side of a patch of every preset. Textures of 8 or 4 pixels repeat after 16 too."""

WINDOW = 4
"""Patches a side over which an error must repeat to count: 64 pixels."""


@dataclass(frozen=True)
class PixelConfig:
    """Weights of the mean absolute error, the mean squared error, and the error that repeats.

    Attributes:
        l1: weight of absolute errors, sharper where the network is unsure: it aims at the median.
        l2: weight of squared errors, which PSNR counts: it aims at the mean.
        blocking: weight of edges at patch borders; it keeps a perceptual loss from drawing texture with the
            patches' period.

    Raises:
        ValueError: on construction, a negative weight, or l1 and l2 both 0.
    """

    l1: float = 1.0
    l2: float = 0.0
    blocking: float = 0.0

    def __post_init__(self) -> None:
        if min(self.l1, self.l2, self.blocking) < 0 or self.l1 + self.l2 == 0:
            raise ValueError(
                f"pixel's weights must not be negative, nor l1 and l2 both 0; "
                f"got l1 {self.l1}, l2 {self.l2}, blocking {self.blocking}"
            )


def pixel_loss(image: Tensor, target: Tensor, config: PixelConfig) -> Tensor:
    """Return l1 · mean |e| + l2 · mean e² + blocking · `blocking_loss`(e), e = image − target; a scalar.

    Args:
        image: (B, 3, H, W), not clamped: a gradient is wanted outside [0, 1] too.
        target: (B, 3, H, W) in [0, 1].
        config: the weights.
    """
    error = image.float() - target
    loss = error.new_zeros(())
    if config.l1:
        loss = loss + config.l1 * error.abs().mean()
    if config.l2:
        loss = loss + config.l2 * error.square().mean()
    if config.blocking:
        loss = loss + config.blocking * blocking_loss(error)
    return loss


class Decoded(NamedTuple):
    """One decoding of a batch: the weight of its loss, and its pictures (B, 3, H, W), not clamped."""

    weight: float
    image: Tensor


class LossTerms(NamedTuple):
    """The parts of a step's loss, each with its weight in it; scalars.

    Attributes:
        pixel: of the pixels.
        perceptual: of the metric networks.
        adversarial: of the discriminator.
        quantizer: the quantizer's own.
    """

    pixel: Tensor
    perceptual: Tensor
    adversarial: Tensor
    quantizer: Tensor

    @property
    def total(self) -> Tensor:
        """The sum, which is what is minimised."""
        return self.pixel + self.perceptual + self.adversarial + self.quantizer


@dataclass(frozen=True)
class LossWeights:
    """What the terms weigh at one moment of a run."""

    perceptual: float
    adversarial: float
    quantizer: float


class TokenizerLoss:
    """Adds up the terms; a term of weight 0 is not computed.

    Args:
        pixel: weights of the pixel loss.
        perceptual: None where no metric network was asked for.
        adversary: None where no discriminator was asked for.
    """

    def __init__(
        self, pixel: PixelConfig, perceptual: PerceptualLoss | None = None, adversary: Adversary | None = None
    ) -> None:
        self._pixel = pixel
        self._perceptual = perceptual
        self._adversary = adversary

    def __call__(
        self,
        decoded: Sequence[Decoded],
        target: Tensor,
        quantizer_loss: Tensor,
        weights: LossWeights,
        generator: torch.Generator,
    ) -> LossTerms:
        """Return the terms of one step.

        Args:
            decoded: the decodings; their weights need not add up to 1.
            target: (B, 3, H, W) in [0, 1].
            quantizer_loss: scalar.
            weights: of the terms at this moment.
            generator: of the random views, on the CPU.
        """
        zero = target.new_zeros(())
        pixel, perceptual, adversarial = zero, zero, zero
        for weight, image in decoded:
            pixel = pixel + weight * pixel_loss(image, target, self._pixel)
            if self._perceptual is not None and weights.perceptual > 0:
                perceptual = perceptual + weight * self._perceptual(image, target, generator)
            if self._adversary is not None and weights.adversarial > 0:
                adversarial = adversarial + weight * self._adversary.generator_loss(image)
        return LossTerms(
            pixel,
            weights.perceptual * perceptual,
            weights.adversarial * adversarial,
            weights.quantizer * quantizer_loss,
        )


def blocking_loss(error: Tensor) -> Tensor:
    """Return the mean square of what is alike in all patches of a window, a scalar.

    The error is averaged over the patches of each window, so that what changes from patch to patch cancels
    and a pattern with the period of the patch grid stays; a patch's own mean does not count. Photographs
    have no such pattern at the grid's phase, so a decoder that draws one made it up: this is what a
    perceptual loss alone teaches it within a few thousand pictures, and what a classifier cannot read.

    Args:
        error: (B, C, H, W), picture minus original; H and W multiples of PERIOD.
    """
    batch, channels, height, width = error.shape
    rows, columns = _windows(height), _windows(width)
    patches = error.reshape(batch, channels, *rows, PERIOD, *columns, PERIOD)
    repeated = patches.mean(dim=(3, 6))
    return (repeated - repeated.mean(dim=(3, 5), keepdim=True)).square().mean()


def _windows(pixels: int) -> tuple[int, int]:
    """How many windows there are along so many pixels, and patches in each."""
    patches, rest = divmod(pixels, PERIOD)
    if rest:
        raise ValueError(
            f"pixel.blocking needs sides that are multiples of {PERIOD} pixels, got {pixels}; set it to 0"
        )
    return (patches // WINDOW, WINDOW) if patches % WINDOW == 0 else (1, patches)
