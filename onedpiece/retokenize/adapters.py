"""Which models can be reduced, where in them the blocks are, and adapters that take their blocks apart.

A timm `VisionTransformer` whose blocks are timm's `Block` around its plain `Attention` (DeiT, DINOv2, CLIP,
SigLIP: LayerScale, QK norm, registers, drop path), an `Eva` (see `rotary`), a T2T-ViT or LV-ViT (see
`models`), and the tokenizer's encoder.
Classes are compared, not attributes: a block that only looks alike - relative positions, a difference of two
maps, gates - would be computed wrongly without an error.
"""

import sys
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.retokenize.block import BlockAdapter, Layout, Projected
from onedpiece.retokenize.models import LvVit, T2tVit
from onedpiece.retokenize.models.blocks import PlainBlockAdapter
from onedpiece.retokenize.rotary import EvaAdapter, eva_layout, is_eva
from onedpiece.retokenize.stack import ReducedBlocks

_TIMM = "timm.models.vision_transformer"


class TimmAdapter:
    """Take one `timm.models.vision_transformer.Block` apart.

    Raises:
        ValueError: the block or its attention is of another class, or gated.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module: Any = module
        timm, attn = sys.modules[_TIMM], getattr(module, "attn", None)
        if type(module) is not timm.Block:
            raise ValueError(f"{type(module).__name__} cannot be reduced; timm's plain Block can")
        if type(attn) is not timm.Attention:
            raise ValueError(
                f"a block with {type(attn).__name__} cannot be reduced; with timm's Attention it can"
            )
        if getattr(attn, "gate", None) is not None:
            raise ValueError(
                "a block with gated attention cannot be reduced; with timm's plain Attention it can"
            )

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
        q, k, v = _split(attn.qkv(normed), 3, attn.num_heads)
        return Projected(attn.q_norm(q), attn.k_norm(k), v)

    def project_queries_keys(self, normed: Tensor, rotation: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `BlockAdapter`."""
        attn = self.module.attn
        packed = self._linear(normed, slice(0, 2 * attn.qkv.out_features // 3))
        q, k = _split(packed, 2, attn.num_heads)
        return attn.q_norm(q), attn.k_norm(k)

    def project_values(self, normed: Tensor) -> Tensor:
        """See `BlockAdapter`."""
        return self._linear(normed, slice(2 * self.module.attn.qkv.out_features // 3, None))

    def add_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        """See `BlockAdapter`."""
        attn = self.module.attn
        if hasattr(attn, "norm"):  # timm ≥ 1.0.16
            attended = attn.norm(attended)
        attended = attn.proj_drop(attn.proj(attended))
        out: Tensor = x + self.module.drop_path1(self.module.ls1(attended))
        return out

    def add_mlp(self, x: Tensor) -> Tensor:
        """See `BlockAdapter`."""
        out: Tensor = x + self.module.drop_path2(self.module.ls2(self.module.mlp(self.module.norm2(x))))
        return out

    def attention_dropout(self) -> float:
        """See `BlockAdapter`."""
        return float(self.module.attn.attn_drop.p) if self.module.training else 0.0

    def _linear(self, x: Tensor, rows: slice) -> Tensor:
        qkv = self.module.attn.qkv
        return F.linear(x, qkv.weight[rows], None if qkv.bias is None else qkv.bias[rows])


class EncoderAdapter:
    """Take one block of the tokenizer's encoder apart."""

    def __init__(self, module: nn.Module) -> None:
        self.module: Any = module

    def run(self, x: Tensor, rotation: Tensor | None = None) -> Tensor:
        """See `BlockAdapter`."""
        out: Tensor = self.module(x)
        return out

    def normed(self, x: Tensor) -> Tensor:
        """See `BlockAdapter`."""
        out: Tensor = self.module.ln_1(x)
        return out

    def project(self, normed: Tensor, rotation: Tensor | None = None) -> Projected:
        """See `BlockAdapter`."""
        q, k, v = _split(self._linear(normed, slice(None)), 3, self.module.attn.heads)
        return Projected(q, k, v)

    def project_queries_keys(self, normed: Tensor, rotation: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `BlockAdapter`."""
        packed = self._linear(normed, slice(0, 2 * normed.shape[-1]))
        q, k = _split(packed, 2, self.module.attn.heads)
        return q, k

    def project_values(self, normed: Tensor) -> Tensor:
        """See `BlockAdapter`."""
        return self._linear(normed, slice(2 * normed.shape[-1], None))

    def add_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        """See `BlockAdapter`."""
        out: Tensor = x + self.module.attn.out_proj(attended)
        return out

    def add_mlp(self, x: Tensor) -> Tensor:
        """See `BlockAdapter`."""
        out: Tensor = x + self.module.mlp(self.module.ln_2(x))
        return out

    def attention_dropout(self) -> float:
        """See `BlockAdapter`."""
        return 0.0

    def _linear(self, x: Tensor, rows: slice) -> Tensor:
        attn = self.module.attn
        return F.linear(x, attn.in_proj_weight[rows], attn.in_proj_bias[rows])


def _split(packed: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Split a packed projection (B, N, parts·H·D) into `parts` tensors (B, H, N, D)."""
    batch, tokens, channels = packed.shape  # named, as a batch of 0 leaves no size to infer
    split = packed.view(batch, tokens, parts, heads, channels // (parts * heads))
    return split.permute(2, 0, 3, 1, 4).unbind(0)


class ModelSite(NamedTuple):
    """Where a reducer goes in.

    Attributes:
        owner: the module that holds the stack of blocks.
        attribute: its name there.
        adapter: takes one block apart.
        layout: which tokens are whose.
        dim: channels of a token.
        num_free: how many tokens may be reduced, at the model's own picture size.
        pools: whether the model's answer is pooled over all tokens, padding included.
    """

    owner: nn.Module
    attribute: str
    adapter: type[TimmAdapter] | type[EncoderAdapter] | type[EvaAdapter] | type[PlainBlockAdapter]
    layout: Layout
    dim: int
    num_free: int
    pools: bool = False

    @property
    def stack(self) -> Any:
        """What stands there now: the model's own stack, or a reduced one."""
        return getattr(self.owner, self.attribute)

    @property
    def original(self) -> Any:
        """The model's own stack."""
        return self.stack.original if isinstance(self.stack, ReducedBlocks) else self.stack

    def adapt(self, stack: nn.Module) -> list[BlockAdapter]:
        """Return one adapter for each block of a stack.

        Raises:
            ValueError: a block is of a class that would be computed wrongly.
        """
        return [self.adapter(block) for block in stack.children()]


def find_site(model: nn.Module) -> ModelSite:
    """Find the blocks of a timm `VisionTransformer` or `Eva`, of our encoder, or of a tokenizer's encoder.

    Raises:
        ValueError: the model is none of these.
    """
    timm = sys.modules.get(_TIMM)  # not imported: its models are not there either
    if timm is not None and isinstance(model, timm.VisionTransformer):
        return _timm_site(model, timm.VisionTransformer)
    if is_eva(model):
        vit: Any = model
        patches = int(vit.patch_embed.num_patches)
        pools = vit.global_pool != "token"
        return ModelSite(vit, "blocks", EvaAdapter, eva_layout(vit), int(vit.embed_dim), patches, pools)
    if isinstance(model, T2tVit | LvVit):
        layout = Layout(prefix=1, tail=0, score_tokens=slice(0, 1))
        pools = getattr(model, "aux_head", None) is not None
        return ModelSite(
            model, "blocks", PlainBlockAdapter, layout, model.embed_dim, model.num_patches, pools
        )
    if hasattr(model, "latent_token_positional_embedding") and hasattr(model, "class_embedding"):
        return _encoder_site(model)
    encoder = getattr(model, "encoder", None)
    if encoder is None and hasattr(model, "linear_path"):
        raise ValueError(
            "this tokenizer has no encoder network (encoder_layers is 0): its tokens are the DCT's, "
            "and there are no patches to merge"
        )
    if isinstance(encoder, nn.Module):
        return find_site(encoder)
    raise ValueError(
        f"{type(model).__name__} cannot be reduced: give a timm VisionTransformer, a Tokenizer or its encoder"
    )


def _timm_site(vit: Any, base: type) -> ModelSite:
    if type(vit).forward_features is not base.forward_features:  # type: ignore[attr-defined]
        raise ValueError(f"{type(vit).__name__} cannot be reduced: it walks its blocks in a way of its own")
    if getattr(vit.attn_pool, "pos_embed", None) is not None:
        raise ValueError(f"{type(vit).__name__} cannot be reduced: its pooling counts on every position")
    layout = Layout(
        prefix=int(vit.num_prefix_tokens),
        tail=0,
        score_tokens=slice(None) if vit.cls_token is None else slice(0, 1),
    )
    patches = int(vit.patch_embed.num_patches)
    pools = vit.global_pool != "token"
    return ModelSite(vit, "blocks", TimmAdapter, layout, int(vit.embed_dim), patches, pools)


def _encoder_site(encoder: Any) -> ModelSite:
    patches, dim = encoder.positional_embedding.shape
    latents = int(encoder.latent_token_positional_embedding.shape[0])
    # Latents score the patches, and are never merged.
    layout = Layout(prefix=1, tail=latents, score_tokens=slice(-latents, None), pad=True)
    return ModelSite(encoder, "transformer", EncoderAdapter, layout, int(dim), int(patches) - 1)
