"""Which models can be reduced, where in them the blocks are, and their blocks as `BlockView`s.

timm's `Block` (DeiT, ViT, with LayerScale, QK norm, registers, drop path) and the pre-norm block with CLIP's
names (ln_1, attn.in_proj_weight, ln_2, mlp) of our encoder.
"""

from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.retokenize.block import BlockView, Layout, Projected

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


class EncoderView:
    """A view of one block of the tokenizer's encoder."""

    def __init__(self, block: nn.Module) -> None:
        self.block: Any = block

    def normed(self, x: Tensor) -> Tensor:
        """See `BlockView`."""
        out: Tensor = self.block.ln_1(x)
        return out

    def project(self, normed: Tensor) -> Projected:
        """See `BlockView`."""
        q, k, v = self._split(self._linear(normed, slice(None)), 3)
        return Projected(q, k, v)

    def project_queries_keys(self, normed: Tensor) -> tuple[Tensor, Tensor]:
        """See `BlockView`."""
        q, k = self._split(self._linear(normed, slice(0, 2 * normed.shape[-1])), 2)
        return q, k

    def project_values(self, normed: Tensor) -> Tensor:
        """See `BlockView`."""
        return self._linear(normed, slice(2 * normed.shape[-1], None))

    def add_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        """See `BlockView`."""
        out: Tensor = x + self.block.attn.out_proj(attended)
        return out

    def add_mlp(self, x: Tensor) -> Tensor:
        """See `BlockView`."""
        out: Tensor = x + self.block.mlp(self.block.ln_2(x))
        return out

    def attention_dropout(self) -> float:
        """See `BlockView`."""
        return 0.0

    def _linear(self, x: Tensor, rows: slice) -> Tensor:
        attn = self.block.attn
        return F.linear(x, attn.in_proj_weight[rows], attn.in_proj_bias[rows])

    def _split(self, packed: Tensor, parts: int) -> tuple[Tensor, ...]:
        batch, tokens, _ = packed.shape
        heads = packed.view(batch, tokens, parts, self.block.attn.heads, -1)
        return heads.permute(2, 0, 3, 1, 4).unbind(0)


def encoder_layout(encoder: Any) -> Layout:
    """Read the layout off an encoder of [class, patches, latents]; latents are never merged."""
    latents = int(encoder.latent_token_positional_embedding.shape[0])
    return Layout(prefix=1, tail=latents, judges=slice(-latents, None), pad=True)


class Target(NamedTuple):
    """Where a reducer goes in.

    Attributes:
        owner: the module that holds the stack of blocks.
        attribute: its name there.
        view: how to look at one block.
        layout: which tokens are whose.
        dim: channels of a token.
        num_free: how many tokens may be reduced, at the model's own picture size.
    """

    owner: nn.Module
    attribute: str
    view: type[TimmView] | type[EncoderView]
    layout: Layout
    dim: int
    num_free: int

    @property
    def stack(self) -> Any:
        """What stands there now: the model's own stack, or a reduced one."""
        return getattr(self.owner, self.attribute)

    def views(self, stack: nn.Module) -> list[BlockView]:
        """One view for each block of a stack."""
        return [self.view(block) for block in stack.children()]


def find_target(model: nn.Module) -> Target:
    """Find the blocks of a timm `VisionTransformer`, of our encoder, or of a tokenizer's encoder.

    Raises:
        ValueError: the model is none of these.
    """
    if hasattr(model, "blocks") and hasattr(model, "num_prefix_tokens"):
        return _timm_target(model)
    if hasattr(model, "latent_token_positional_embedding") and hasattr(model, "class_embedding"):
        return _encoder_target(model)
    encoder = getattr(model, "encoder", None)
    if isinstance(encoder, nn.Module):
        return find_target(encoder)
    raise ValueError(
        f"{type(model).__name__} cannot be reduced: give a timm VisionTransformer, a Tokenizer or its encoder"
    )


def _timm_target(vit: Any) -> Target:
    return Target(
        vit, "blocks", TimmView, timm_layout(vit), int(vit.embed_dim), int(vit.patch_embed.num_patches)
    )


def _encoder_target(encoder: Any) -> Target:
    patches, dim = encoder.positional_embedding.shape
    return Target(encoder, "transformer", EncoderView, encoder_layout(encoder), int(dim), int(patches) - 1)
