"""The block that T2T-ViT and LV-ViT share, and the adapter that takes it apart for reducers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.retokenize.block import Projected

EPSILON = 1e-5  # of all norms: torch's default, which both models keep


class Mlp(nn.Module):
    """Two layers with a GELU between: (..., inputs) to (..., outputs)."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.fc2 = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Run both layers."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class PlainAttention(nn.Module):
    """Attention of heads side by side, projections without a bias: (B, N, C) to (B, N, C).

    Args:
        dim: C.
        num_heads: how many heads share it.
        scale: of the products; D^-½ where not given.
    """

    def __init__(self, dim: int, num_heads: int, scale: float | None = None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5 if scale is None else scale
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def heads(self, x: Tensor) -> Tensor:
        """(B, N, H·D) to (B, H, N, D)."""
        return x.view(*x.shape[:2], self.num_heads, x.shape[2] // self.num_heads).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        q, k, v = (self.heads(part) for part in self.qkv(x).chunk(3, dim=-1))
        attended = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return out


class PlainBlock(nn.Module):
    """A pre-norm block whose branches may be divided by a number (LV-ViT's λ): (B, N, C) to (B, N, C).

    Args:
        dim: C.
        num_heads: of attention.
        mlp_ratio: hidden channels of the MLP, in parts of C.
        scale: of attention, D^-½ where not given.
        skip: λ, what both branches are divided by.
    """

    def __init__(
        self, dim: int, num_heads: int, mlp_ratio: float, scale: float | None = None, skip: float = 1.0
    ) -> None:
        super().__init__()
        self.skip = skip
        self.norm1 = nn.LayerNorm(dim, EPSILON)
        self.attn = PlainAttention(dim, num_heads, scale)
        self.norm2 = nn.LayerNorm(dim, EPSILON)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), dim)

    def forward(self, x: Tensor) -> Tensor:
        """Run both branches."""
        x = x + self.attn(self.norm1(x)) / self.skip
        out: Tensor = x + self.mlp(self.norm2(x)) / self.skip
        return out


class PlainBlockAdapter:
    """Take one `PlainBlock` apart.

    Raises:
        ValueError: it is another block.
    """

    def __init__(self, module: nn.Module) -> None:
        if type(module) is not PlainBlock:
            raise ValueError(f"{type(module).__name__} cannot be reduced; PlainBlock can")
        self.module: Any = module

    def run(self, x: Tensor, rotation: Tensor | None = None) -> Tensor:
        """See `BlockAdapter`."""
        out: Tensor = self.module(x)
        return out

    def normed(self, x: Tensor) -> Tensor:
        """See `BlockAdapter`."""
        out: Tensor = self.module.norm1(x)
        return out

    def project(self, normed: Tensor, rotation: Tensor | None = None) -> Projected:
        """See `BlockAdapter`."""
        attn = self.module.attn
        q, k, v = (attn.heads(part) for part in attn.qkv(normed).chunk(3, dim=-1))
        return Projected(self._scaled(q), k, v)

    def project_queries_keys(self, normed: Tensor, rotation: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `BlockAdapter`."""
        attn = self.module.attn
        weight = attn.qkv.weight[: 2 * normed.shape[-1]]
        q, k = (attn.heads(part) for part in F.linear(normed, weight).chunk(2, dim=-1))
        return self._scaled(q), k

    def project_values(self, normed: Tensor) -> Tensor:
        """See `BlockAdapter`."""
        return F.linear(normed, self.module.attn.qkv.weight[2 * normed.shape[-1] :])

    def add_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        """See `BlockAdapter`."""
        out: Tensor = x + self.module.attn.proj(attended) / self.module.skip
        return out

    def add_mlp(self, x: Tensor) -> Tensor:
        """See `BlockAdapter`."""
        out: Tensor = x + self.module.mlp(self.module.norm2(x)) / self.module.skip
        return out

    def attention_dropout(self) -> float:
        """See `BlockAdapter`."""
        return 0.0

    def _scaled(self, q: Tensor) -> Tensor:
        """Make up for a scale other than the D^-½ that attention takes for granted."""
        factor = self.module.attn.scale * q.shape[-1] ** 0.5
        return q if factor == 1 else q * factor


def count_blocks(state: Mapping[str, Tensor]) -> int:
    """Return how many blocks a released state dict holds.

    Raises:
        ValueError: it holds none.
    """
    numbers = [int(name.split(".")[1]) for name in state if name.startswith("blocks.")]
    if not numbers:
        raise ValueError("the state dict holds no blocks; give that of a T2T-ViT or LV-ViT")
    return max(numbers) + 1


def with_class_token(token: Tensor, patches: Tensor) -> Tensor:
    """Put a class token (1, 1, C) in front of patches (B, N, C)."""
    return torch.cat([token.expand(len(patches), -1, -1), patches], dim=1)
