"""A PatchGAN, and the hinge losses of it and of the tokenizer that tries to fool it, with LeCam's brake."""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onedpiece.training.optimizer import ramp


@dataclass(frozen=True)
class AdversarialConfig:
    """Strength and start of the adversarial loss.

    Attributes:
        weight: of its loss for the tokenizer; 0: no discriminator is built.
        start: share of the run before it counts: the last third, once pixels are learned.
        head_start: share of the run that the discriminator learns alone before that.
        ramp: share of the run over which the tokenizer's loss grows to `weight`.
        lr: the discriminator's peak rate.
        width: the discriminator's first channels.
        lecam: weight of LeCam's regulariser; it helps on little data.

    Raises:
        ValueError: on construction, a number out of range.
    """

    weight: float = 0.0
    start: float = 0.67
    head_start: float = 0.05
    ramp: float = 0.05
    lr: float = 1e-4
    width: int = 64
    lecam: float = 0.0

    def __post_init__(self) -> None:
        if self.weight < 0 or self.lecam < 0 or not self.head_start >= 0:
            raise ValueError("adversarial.weight, lecam and head_start must not be negative")

    def weight_at(self, progress: float) -> float:
        """Return the weight of the tokenizer's loss at `progress` in [0, 1]."""
        return self.weight * ramp(progress, self.start, self.ramp)

    def trains_at(self, progress: float) -> bool:
        """Say whether the discriminator learns at `progress` in [0, 1]."""
        return self.weight > 0 and progress >= self.start - self.head_start


def generator_hinge(fake: Tensor) -> Tensor:
    """Return −mean of the logits of reconstructions: what the tokenizer minimises."""
    return -fake.mean()


def discriminator_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Return ½ (mean relu(1 − real) + mean relu(1 + fake)) of logits: what the discriminator minimises."""
    return 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean())


def lecam(real: Tensor, fake: Tensor, real_mean: Tensor, fake_mean: Tensor) -> Tensor:
    """Return mean relu(real − f̄)² + mean relu(r̄ − fake)², f̄ and r̄ running means of the logits.

    Source: LeCam regularisation, arXiv 2104.03310, eq. 5, in the one-sided form that hinge losses take.
    """
    return F.relu(real - fake_mean).square().mean() + F.relu(real_mean - fake).square().mean()


class Adversary(nn.Module):
    """A discriminator and the running means of its logits.

    Args:
        config: its width and regulariser.
    """

    means: Tensor

    def __init__(self, config: AdversarialConfig) -> None:
        super().__init__()
        self.config = config
        self.network = PatchDiscriminator(config.width)
        self.register_buffer("means", torch.zeros(2))  # of the logits of real and of reconstructed pictures

    def generator_loss(self, image: Tensor) -> Tensor:
        """Return the tokenizer's loss on reconstructions (B, 3, H, W); no gradient for the discriminator."""
        parameters = list(self.network.parameters())
        for parameter in parameters:
            parameter.requires_grad_(False)
        loss = generator_hinge(self.network(image))
        for parameter in parameters:
            parameter.requires_grad_(True)
        return loss

    def discriminator_loss(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the discriminator's loss on reconstructions and originals, both (B, 3, H, W)."""
        real, fake = self.network(torch.cat([target, image.detach().to(target.dtype)])).float().chunk(2)
        loss = discriminator_hinge(real, fake)
        if self.config.lecam:
            self.means.lerp_(torch.stack([real.detach().mean(), fake.detach().mean()]), 0.01)
            loss = loss + self.config.lecam * lecam(real, fake, self.means[0], self.means[1])
        return loss


class PatchDiscriminator(nn.Module):
    """Strided convolutions down to one logit for each overlapping patch.

    Group instead of batch normalisation: a sample's logit must not depend on its batch.

    Args:
        width: channels after the first convolution; they double with each halving, up to 8 times.
        halvings: strided convolutions; 3 make patches of 70 pixels.

    Source: pix2pix, arXiv 1611.07004 §3.2.2.
    """

    def __init__(self, width: int = 64, halvings: int = 3) -> None:
        super().__init__()
        channels = [width * min(2**i, 8) for i in range(halvings + 1)]
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for i in range(1, halvings + 1):
            stride = 2 if i < halvings else 1
            layers += [
                nn.Conv2d(channels[i - 1], channels[i], 4, stride, 1, bias=False),
                nn.GroupNorm(min(32, channels[i]), channels[i]),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[-1], 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 1, h, w) logits of pictures (B, 3, H, W) in [0, 1]; larger is more real."""
        inputs = (2.0 * x - 1.0).to(next(self.parameters()).dtype)  # bfloat16 under bf16-true
        return cast(Tensor, self.layers(inputs)).float()
