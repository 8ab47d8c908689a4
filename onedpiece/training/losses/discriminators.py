"""Discriminators of the sharp network: all see the faithful picture beside the one that they score."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    return spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2))


class PixelDiscriminator(nn.Module):
    """A PatchGAN with spectral norm on 2×2 unshuffled pixels.

    Args:
        width: channels of the first convolution.

    Source: pix2pix, arXiv 1611.07004 §3.2.2; spectral norm, arXiv 1802.05957.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _convolution(24, width, 3),
            nn.LeakyReLU(0.2),
            _convolution(width, 2 * width, 4, 2),
            nn.LeakyReLU(0.2),
            _convolution(2 * width, 4 * width, 4, 2),
            nn.LeakyReLU(0.2),
            _convolution(4 * width, 4 * width, 3),
            nn.LeakyReLU(0.2),
            _convolution(4 * width, 1, 3),
        )

    def forward(self, picture: Tensor, faithful: Tensor) -> Tensor:
        """Return (B, 1, h, w) logits of pictures (B, 3, H, W) in [0, 1]; larger is more real."""
        both = F.pixel_unshuffle(torch.cat([picture, faithful], dim=1) * 2 - 1, 2)
        return _float_logits(self.layers, both)


class FeatureDiscriminator(nn.Module):
    """One small head for each stage of a frozen network's features.

    Args:
        channels: of the stages.
        width: channels inside a head.

    Source: projected GANs, arXiv 2111.01007, with plain heads in place of their random mixing.
    """

    def __init__(self, channels: Sequence[int], width: int = 128) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                _convolution(2 * count, width, 1),
                nn.LeakyReLU(0.2),
                _convolution(width, width, 3),
                nn.LeakyReLU(0.2),
                _convolution(width, 1, 3),
            )
            for count in channels
        )

    def forward(self, picture: Sequence[Tensor], faithful: Sequence[Tensor]) -> list[Tensor]:
        """Return each head's (B, 1, h, w) logits of features (B, C, h, w) of both pictures."""
        return [
            _float_logits(head, torch.cat([_scaled(a), _scaled(b)], dim=1))
            for head, a, b in zip(self.heads, picture, faithful, strict=True)
        ]


def _float_logits(layers: nn.Module, x: Tensor) -> Tensor:
    """Return float32 logits of x in the layers' own dtype, bfloat16 under bf16-true."""
    return cast(Tensor, layers(x.to(next(layers.parameters()).dtype))).float()


def _scaled(features: Tensor) -> Tensor:
    """Divide features by their root mean square over channels and places, a sample at a time."""
    power = features.float().square().mean(dim=(1, 2, 3), keepdim=True)
    return features * power.add(1e-8).rsqrt().to(features)
