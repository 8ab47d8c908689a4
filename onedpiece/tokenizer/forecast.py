"""What each prefix will be worth, foretold from the linear path alone: no decoder runs."""

import torch
from torch import Tensor
from torch.nn import functional as F

from onedpiece.tokenizer.linear_path import LinearPath


@torch.no_grad()
def forecast(path: LinearPath, x: Tensor, codes: Tensor) -> Tensor:
    """Return about the PSNR, in dB, of the pictures of 1, 2, …, N tokens, (B, N).

    The DCT is orthonormal, so that every coefficient adds its own error: that of its lattice where its token
    is kept, that of its mean where it is not. What the linear path's size cannot hold is added to all.

    Args:
        path: the tokenizer's linear path.
        x: (B, 3, H, W) in [0, 1], the pictures.
        codes: (B, N, code_dim), their codes.
    """
    wanted, kept = (
        path.coefficients(x)[:, path.order],
        path.coefficients(path.synthesise(codes))[:, path.order],
    )
    gains = (wanted - path.mean).square() - (wanted - kept).square()
    tokens = torch.div(path.slots, path.code_dim, rounding_mode="floor")
    by_token = gains.new_zeros(len(x), codes.shape[1]).index_add(1, tokens, gains)
    blank = torch.zeros_like(path.coefficients(x))
    blank[:, path.order] = path.mean
    all_lost = (path.coefficients(x) - blank).square().sum(1, keepdim=True)
    per_pixel = (all_lost - by_token.cumsum(1)) / blank.shape[1]
    return -10 * torch.log10((per_pixel + _detail(path, x)[:, None]).clamp_min(1e-9))


def _detail(path: LinearPath, x: Tensor) -> Tensor:
    """The mean squared error, (B,), of pictures that went through the linear path's size and nothing else."""
    back = F.interpolate(path.downscale(x), x.shape[-2:], mode="bicubic", align_corners=False)
    return (x - back).square().mean(dim=(1, 2, 3))
