"""The tokenizer's loss over everything that one step decodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from onedpiece.training.losses.adversarial import Adversary
from onedpiece.training.losses.perceptual import PerceptualLoss
from onedpiece.training.losses.pixel import PixelConfig, pixel_loss


class Decoded(NamedTuple):
    """One decoding of a batch: the weight of its loss, and its pictures (B, 3, H, W), not clamped."""

    weight: float
    image: Tensor


class Terms(NamedTuple):
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
class Strengths:
    """What the terms weigh at one moment of a run."""

    perceptual: float
    adversarial: float
    quantizer: float


class Objective:
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
        strengths: Strengths,
        generator: torch.Generator,
    ) -> Terms:
        """Return the terms of one step.

        Args:
            decoded: the decodings; their weights need not add up to 1.
            target: (B, 3, H, W) in [0, 1].
            quantizer_loss: scalar.
            strengths: weights at this moment.
            generator: of the random views, on the CPU.
        """
        zero = target.new_zeros(())
        pixel, perceptual, adversarial = zero, zero, zero
        for weight, image in decoded:
            pixel = pixel + weight * pixel_loss(image, target, self._pixel)
            if self._perceptual is not None and strengths.perceptual > 0:
                perceptual = perceptual + weight * self._perceptual(image, target, generator)
            if self._adversary is not None and strengths.adversarial > 0:
                adversarial = adversarial + weight * self._adversary.fool(image)
        return Terms(
            pixel,
            strengths.perceptual * perceptual,
            strengths.adversarial * adversarial,
            strengths.quantizer * quantizer_loss,
        )
