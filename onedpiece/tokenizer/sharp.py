"""The sharp network: a picture with detail in place of a blur, from the faithful picture."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SCALE = 4
"""The network works at a quarter of the picture's resolution."""

LOW_PASS = 8
"""Pixels; means over so many squared are kept from the faithful picture: the tokens said them."""

INPUT_CHANNELS = 3 + 3 * SCALE**2 + 1


class ResidualDenseBlock(nn.Module):
    """Five 3×3 convolutions, each on all before it, a fifth of the last added to the input.

    Source: ESRGAN, arXiv 1809.00219 §3.1.
    """

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for i in range(4):
            self.add_module(f"conv{i + 1}", nn.Conv2d(width + i * growth, growth, 3, padding=1))
        self.conv5 = nn.Conv2d(width + 4 * growth, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same."""
        seen = x
        for i in range(4):
            grown = F.leaky_relu(self.get_submodule(f"conv{i + 1}")(seen), 0.2, inplace=True)
            seen = torch.cat([seen, grown], dim=1)
        return torch.add(x, self.conv5(seen), alpha=0.2)


class RRDB(nn.Module):
    """A residual in residual dense block: three dense blocks, a fifth of them added to the input."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(width, growth)
        self.rdb2 = ResidualDenseBlock(width, growth)
        self.rdb3 = ResidualDenseBlock(width, growth)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same."""
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=0.2)


class SharpNetwork(nn.Module):
    """An RRDBNet that sees the faithful picture and how many tokens it was made of.

    Names and shapes are those of Real-ESRGAN's x4plus but for the first convolution, which has 52 channels in
    place of 3: the quarter-size picture, what that lost (`SCALE`² places a colour), and log₂(tokens) / 8.

    Args:
        blocks: residual in residual dense blocks; x4plus has 23.
        width: channels of the trunk.
        growth: channels that each convolution of a dense block adds.

    Source: Real-ESRGAN, arXiv 2107.10833; ESRGAN, arXiv 1809.00219.
    """

    def __init__(self, blocks: int = 23, width: int = 64, growth: int = 32) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(INPUT_CHANNELS, width, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(width, width, 3, padding=1)
        self.conv_up1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_up2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_hr = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)
        self.to(memory_format=torch.channels_last)

    def forward(self, faithful: Tensor, tokens: Tensor) -> Tensor:
        """Draw the sharp picture.

        Args:
            faithful: (B, 3, H, W) in [0, 1], H and W multiples of `LOW_PASS`; may be a crop.
            tokens: (B,), how many tokens each picture was decoded from.

        Returns:
            (B, 3, H, W), about [0, 1], not clamped; its `LOW_PASS`² means are nearly the faithful picture's.
        """
        x = self.conv_first(network_input(faithful, tokens).to(self.conv_first.weight.dtype))
        x = x + self.conv_body(self.body(x))
        x = F.leaky_relu(self.conv_up1(F.interpolate(x, scale_factor=2)), 0.2)
        x = F.leaky_relu(self.conv_up2(F.interpolate(x, scale_factor=2)), 0.2)
        drawn: Tensor = self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2)).float()
        return drawn + low_pass(faithful - drawn)


def network_input(faithful: Tensor, tokens: Tensor) -> Tensor:
    """Return (B, 52, H / 4, W / 4): the quarter-size picture, what it lost, and log₂(tokens) / 8."""
    quarter = F.interpolate(
        faithful, scale_factor=1 / SCALE, mode="bicubic", align_corners=False, antialias=True
    )
    lost = F.pixel_unshuffle(faithful, SCALE) - quarter.repeat_interleave(SCALE**2, dim=1)
    count = (tokens.to(quarter).log2() / 8).view(-1, 1, 1, 1).expand(-1, 1, *quarter.shape[2:])
    return torch.cat([quarter, lost, count], dim=1).contiguous(memory_format=torch.channels_last)


def low_pass(x: Tensor) -> Tensor:
    """Return x (B, C, H, W) as means over `LOW_PASS`² pixels, scaled up bilinearly."""
    means = F.avg_pool2d(x, LOW_PASS)
    return F.interpolate(means, x.shape[-2:], mode="bilinear", align_corners=False)
