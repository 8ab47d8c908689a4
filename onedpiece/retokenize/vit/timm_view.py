"""timm's `Block` as a `BlockView`: DeiT, ViT, with LayerScale, QK norm, registers, drop path."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.retokenize.vit.view import Layout, Projected

_NEEDED = ("norm1", "attn", "ls1", "drop_path1", "norm2", "mlp", "ls2", "drop_path2")


class TimmView:
    """A view of one `timm.models.vision_transformer.Block`.

    Raises:
        ValueError: the block is of another make (parallel branches, post-norm, gated attention).
    """

    def __init__(self, block: nn.Module) -> None:
        self.block: Any = block
        missing = [name for name in _NEEDED if not hasattr(block, name)]
        if missing or getattr(getattr(block, "attn", None), "gate", None) is not None:
            reason = f"it has no {', '.join(missing)}" if missing else "its attention is gated"
            raise ValueError(f"{type(block).__name__} cannot be reduced: {reason}; timm's plain Block can")
        if not hasattr(block.attn, "qkv"):
            raise ValueError(
                f"{type(block.attn).__name__} has no packed qkv projection; use timm's Attention"
            )

    def normed(self, x: Tensor) -> Tensor:
        """See `BlockView`."""
        out: Tensor = self.block.norm1(x)
        return out

    def project(self, normed: Tensor) -> Projected:
        """See `BlockView`."""
        attn = self.block.attn
        packed = attn.qkv(normed).view(*normed.shape[:2], 3, attn.num_heads, -1)
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
        return Projected(attn.q_norm(q), attn.k_norm(k), v)

    def project_queries_keys(self, normed: Tensor) -> tuple[Tensor, Tensor]:
        """See `BlockView`."""
        attn = self.block.attn
        packed = self._linear(normed, slice(0, 2 * attn.qkv.out_features // 3))
        q, k = packed.view(*normed.shape[:2], 2, attn.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return attn.q_norm(q), attn.k_norm(k)

    def project_values(self, normed: Tensor) -> Tensor:
        """See `BlockView`."""
        return self._linear(normed, slice(2 * self.block.attn.qkv.out_features // 3, None))

    def add_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        """See `BlockView`."""
        attn = self.block.attn
        if hasattr(attn, "norm"):  # timm ≥ 1.0.16
            attended = attn.norm(attended)
        attended = attn.proj_drop(attn.proj(attended))
        out: Tensor = x + self.block.drop_path1(self.block.ls1(attended))
        return out

    def add_mlp(self, x: Tensor) -> Tensor:
        """See `BlockView`."""
        out: Tensor = x + self.block.drop_path2(self.block.ls2(self.block.mlp(self.block.norm2(x))))
        return out

    def attention_dropout(self) -> float:
        """See `BlockView`."""
        return float(self.block.attn.attn_drop.p) if self.block.training else 0.0

    def _linear(self, x: Tensor, rows: slice) -> Tensor:
        qkv = self.block.attn.qkv
        return F.linear(x, qkv.weight[rows], None if qkv.bias is None else qkv.bias[rows])


def timm_layout(vit: Any) -> Layout:
    """Read the layout off a timm `VisionTransformer`."""
    has_class = vit.cls_token is not None
    return Layout(int(vit.num_prefix_tokens), 0, slice(0, 1) if has_class else slice(None))
