"""A PatchGAN: real or not, judged patch by patch."""

from typing import cast

from torch import Tensor, nn


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
        return cast(Tensor, self.layers(2.0 * x - 1.0))
