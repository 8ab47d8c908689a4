"""timm's EVA family: blocks with rotary positions, which follow the tokens (EVA-02, DINOv3, ViT-RoPE).

A rotation turns queries and keys by the place of their patch. A merged token is turned by the mean of its
patches' rotations, weighted by their sizes: what the mean of equal keys would have been.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.retokenize.block import Layout, Projected

_EVA = "timm.models.eva"


def is_eva(model: nn.Module) -> bool:
    """Say whether a model is timm's `Eva`, whose module is imported where one is."""
    eva = sys.modules.get(_EVA)
    return eva is not None and isinstance(model, eva.Eva)


def eva_layout(vit: Any) -> Layout:
    """Return which tokens of an `Eva` may be reduced.

    Raises:
        ValueError: the model would be computed wrongly.
    """
    name, base = type(vit).__name__, sys.modules[_EVA].Eva
    if type(vit).forward_features is not base.forward_features:
        raise ValueError(f"{name} cannot be reduced: it walks its blocks in a way of its own")
    if getattr(vit, "rope_mixed", False):
        raise ValueError(f"{name} cannot be reduced: its rotary positions are others in each block and head")
    if getattr(vit.attn_pool, "pos_embed", None) is not None:
        raise ValueError(f"{name} cannot be reduced: its pooling counts on every position")
    score = slice(None) if vit.cls_token is None else slice(0, 1)
    return Layout(prefix=int(vit.num_prefix_tokens), tail=0, score_tokens=score)


class EvaAdapter:
    """Take one `timm.models.eva.EvaBlock` apart.

    Raises:
        ValueError: the block or its attention is of another class, gated, or of fewer keys than queries.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module: Any = module
        eva: Any = sys.modules[_EVA]
        attn: Any = getattr(module, "attn", None)
        if type(module) is not eva.EvaBlock:
            raise ValueError(f"{type(module).__name__} cannot be reduced; timm's EvaBlock can")
        if type(attn) not in (eva.EvaAttention, eva.AttentionRope):
            raise ValueError(f"a block with {type(attn).__name__} cannot be reduced")
        if getattr(attn, "gate", None) is not None:
            raise ValueError("a block with gated attention cannot be reduced")
        if getattr(attn, "num_kv_heads", attn.num_heads) != attn.num_heads:
            raise ValueError("a block whose heads share keys cannot be reduced")

    def run(self, x: Tensor, rotation: Tensor | None = None) -> Tensor:
        """See `BlockAdapter`."""
        out: Tensor = self.module(x, rope=rotation)
        return out

    def normed(self, x: Tensor) -> Tensor:
        """See `BlockAdapter`."""
        out: Tensor = self.module.norm1(x)
        return out

    def project(self, normed: Tensor, rotation: Tensor | None = None) -> Projected:
        """See `BlockAdapter`."""
        q, k = self.project_queries_keys(normed, rotation)
        return Projected(q, k, self._heads(self._part(normed, 2)))

    def project_queries_keys(self, normed: Tensor, rotation: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `BlockAdapter`."""
        attn = self.module.attn
        q = attn.q_norm(self._heads(self._part(normed, 0)))
        k = attn.k_norm(self._heads(self._part(normed, 1)))
        return self._turned(q, rotation), self._turned(k, rotation)

    def project_values(self, normed: Tensor) -> Tensor:
        """See `BlockAdapter`."""
        return self._part(normed, 2)

    def add_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        """See `BlockAdapter`."""
        attn = self.module.attn
        branch = attn.proj_drop(attn.proj(attn.norm(attended)))
        if self.module.gamma_1 is not None:
            branch = self.module.gamma_1 * branch
        out: Tensor = x + self.module.drop_path1(branch)
        return out

    def add_mlp(self, x: Tensor) -> Tensor:
        """See `BlockAdapter`."""
        branch = self.module.mlp(self.module.norm2(x))
        if self.module.gamma_2 is not None:
            branch = self.module.gamma_2 * branch
        out: Tensor = x + self.module.drop_path2(branch)
        return out

    def attention_dropout(self) -> float:
        """See `BlockAdapter`."""
        return float(self.module.attn.attn_drop.p) if self.module.training else 0.0

    def _part(self, x: Tensor, part: int) -> Tensor:
        """Queries (0), keys (1) or values (2): (B, N, C) to (B, N, H·D)."""
        attn = self.module.attn
        if attn.qkv is None:
            out: Tensor = (attn.q_proj, attn.k_proj, attn.v_proj)[part](x)
            return out
        width = attn.qkv.out_features // 3
        rows = slice(part * width, (part + 1) * width)
        bias = None if attn.qkv.bias is None else attn.qkv.bias[rows]
        if getattr(attn, "q_bias", None) is not None:  # kept apart in EVA: keys have none
            bias = (attn.q_bias, attn.k_bias, attn.v_bias)[part]
        return F.linear(x, attn.qkv.weight[rows], bias)

    def _heads(self, x: Tensor) -> Tensor:
        heads = self.module.attn.num_heads
        return x.view(*x.shape[:2], heads, x.shape[2] // heads).transpose(1, 2)

    def _turned(self, x: Tensor, rotation: Tensor | None) -> Tensor:
        """Turn all but the prefix: x (B, H, N, D)."""
        if rotation is None:
            return x
        attn = self.module.attn
        count = attn.num_prefix_tokens
        sin, cos = rotation.chunk(2, dim=-1)
        front, rest = x[:, :, :count], x[:, :, count:]
        turned = rest * cos + _quarter(rest, bool(getattr(attn, "rotate_half", False))) * sin
        return torch.cat([front, turned], dim=2).type_as(x)


def _quarter(x: Tensor, halves: bool) -> Tensor:
    """Turn each pair of channels by a quarter: those half a head apart, or neighbours."""
    if halves:
        one, two = x.chunk(2, dim=-1)
        return torch.cat([-two, one], dim=-1)
    return torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).reshape(x.shape)
