"""How fresh parameters are drawn."""

import torch
from torch import Tensor, nn


def truncated_normal(*shape: int, std: float = 0.02) -> Tensor:
    """Return a tensor of `shape` from a normal cut at two deviations (ViT's initialisation)."""
    return nn.init.trunc_normal_(torch.empty(*shape), std=std, a=-2 * std, b=2 * std)
