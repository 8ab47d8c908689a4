"""Attention over tokens of unequal size, and how much of it each token receives."""

import torch
from torch import Tensor
from torch.nn import functional as F

from onedpiece.retokenize.vit.view import BlockView, Tokens


def size_bias(size: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Proportional attention: log size over the keys, (B, N, 1) to (B, 1, 1, N); padding becomes -∞.

    Reference: ToMe, arXiv 2210.09461, equation 1.
    """
    if size is None:
        return None
    bias: Tensor = size[..., 0].log().to(dtype)[:, None, None, :]
    return bias


def attention_map(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax over the keys: q (B, H, Q, D), k (B, H, N, D), bias broadcastable, give (B, H, Q, N)."""
    scale: float = q.shape[-1] ** -0.5
    logits = (q * scale) @ k.transpose(-2, -1)
    # In place: a map is the largest tensor of a block, and the product's gradient does not need it.
    return (logits if bias is None else logits.add_(bias)).softmax(dim=-1)


def importance(q: Tensor, k: Tensor, bias: Tensor | None, judges: slice) -> Tensor:
    """Mean attention that the judges pay to each token, over their heads: (B, N), float32."""
    return attention_map(q[:, :, judges], k, bias).mean(dim=(1, 2), dtype=torch.float32)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, N, D) to (B, N, H·D)."""
    return x.transpose(1, 2).flatten(2)


def attend(view: BlockView, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Fused attention: q, k, v (B, H, N, D) give (B, N, H·D); no map is materialised."""
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=view.attention_dropout())
    return merge_heads(out)


def plain_step(view: BlockView, tokens: Tokens, proportional: bool) -> Tokens:
    """Run a block without reducing anything; bit for bit the original while every size is one."""
    if tokens.size is None or not proportional:
        return tokens._replace(x=view.block(tokens.x))
    projected = view.project(view.normed(tokens.x))
    attended = attend(view, *projected, size_bias(tokens.size, projected.q.dtype))
    return tokens._replace(x=view.add_mlp(view.add_attention(tokens.x, attended)))
