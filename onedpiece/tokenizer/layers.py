"""The pre-norm transformer that encoder and decoder share, and how fresh parameters are drawn."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head self-attention with one packed projection, and an optional mask over keys.

    Args:
        width: channels.
        heads: attention heads; divides `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(truncated_normal(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, key_mask: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Attend.

        Args:
            x: (B, T, W).
            key_mask: (B, T) bool, False where a token must not be looked at; None: all may.
            queries: only the first so many tokens ask; None: all T.

        Returns:
            (B, queries, W).
        """
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = (self._split(part) for part in packed.chunk(3, dim=-1))
        q = q[:, :, :queries]
        mask = None if key_mask is None else key_mask[:, None, None, :]
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.out_proj(x.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, W) to (B, heads, T, W / heads)."""
        batch, tokens, width = x.shape
        return x.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)


class MLP(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, width: int, ratio: int = 4) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, ratio * width)
        self.c_proj = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, W) to (…, W)."""
        out: Tensor = self.c_proj(F.gelu(self.c_fc(x)))
        return out


class Block(nn.Module):
    """One pre-norm transformer block: attention, then MLP, each added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = MLP(width)

    def forward(self, x: Tensor, key_mask: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Map (B, T, W) to (B, queries, W); arguments as in `Attention`.

        The last block of a stack need not compute tokens that nobody reads.
        """
        x = x[:, :queries] + self.attn(self.ln_1(x), key_mask, queries)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


def build_blocks(width: int, heads: int, layers: int) -> nn.ModuleList:
    """Return `layers` blocks, their weights drawn from a normal with a deviation of 0.02.

    A residual branch's last layer is drawn smaller by sqrt(2·layers), so that the stream's variance
    does not grow with depth (GPT-2's rule).
    """
    blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
    for name, parameter in blocks.named_parameters():
        if parameter.ndim == 2:
            last = name.endswith(("out_proj.weight", "c_proj.weight"))
            truncated_normal_(parameter, 0.02 / (2 * layers) ** 0.5 if last else 0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    return blocks


@torch.no_grad()
def truncated_normal_(tensor: Tensor, std: float = 0.02) -> Tensor:
    """Fill a tensor from a normal cut at two deviations (ViT's initialisation), and return it.

    By the inverse of its distribution function, in three passes: torch's own rejects and draws again.
    """
    edge = math.erf(2 / math.sqrt(2))
    if tensor.is_meta:  # no values to draw; erfinv_ would load torch's compiler, a second or more
        return tensor
    return tensor.uniform_(-edge, edge).erfinv_().mul_(std * math.sqrt(2))


def truncated_normal(*shape: int) -> Tensor:
    """Return a tensor of `shape` filled by `truncated_normal_`."""
    return truncated_normal_(torch.empty(*shape))
