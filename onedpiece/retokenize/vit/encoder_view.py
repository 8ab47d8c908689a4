"""A pre-norm block with CLIP's names (ln_1, attn.in_proj_weight, ln_2, mlp) as a `BlockView`: our encoder."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.retokenize.vit.view import Layout, Projected


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
