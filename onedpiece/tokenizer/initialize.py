"""How fresh parameters are drawn."""

import math

import torch
from torch import Tensor


@torch.no_grad()
def truncated_normal_(tensor: Tensor, std: float = 0.02) -> Tensor:
    """Fill a tensor from a normal cut at two deviations (ViT's initialisation), and return it.

    By the inverse of its distribution function, in three passes: torch's own rejects and draws again.
    """
    edge = math.erf(2 / math.sqrt(2))
    return tensor.uniform_(-edge, edge).erfinv_().mul_(std * math.sqrt(2))


def truncated_normal(*shape: int) -> Tensor:
    """Return a tensor of `shape` filled by `truncated_normal_`."""
    return truncated_normal_(torch.empty(*shape))
