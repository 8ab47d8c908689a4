"""Llama's decoder, layer by layer, with MustDrop's second and third stage in it.

In the prefill vision tokens are dropped behind some layers, and positions are counted anew behind each
cut; then the caches of the layers in between are cut to the tokens that were left in the end, while those
in front of the first cut stay whole. In decoding every layer counts positions by its own cache.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from onedpiece.retokenize.vlm.cache import PrunedLayer
from onedpiece.retokenize.vlm.sequence import Sequence, drop_unattended, pack, select, take

# Alike in all that happens below; of those with sliding windows the switched-off ones.
_LAYERS = {"LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer"}


class DropOptions(NamedTuple):
    """When a prefill drops a vision token.

    Attributes:
        layers: behind which of them (from 0) tokens are dropped.
        global_threshold: share of the text's attention to a picture under which a token may go.
        individual_threshold: attention of every single word under which it may.
    """

    layers: tuple[int, ...] = (2, 6, 10, 14)
    global_threshold: float = 0.001
    individual_threshold: float = 0.001


class Prefill(NamedTuple):
    """What a prefill leaves.

    Attributes:
        hidden: (B, N, C), zeros where a token was dropped: N tokens as they were given.
        layers: one cache for each layer.
        tokens: (layers, B) int64, how many tokens each layer has worked on.
        vision: (layers, B) int64, how many of those were vision tokens.
        cached: (layers, B) int64, how many tokens each cache holds.
        whole, whole_vision: (B,) int64, the length of each prompt as it was given, and its vision tokens.
    """

    hidden: Tensor
    layers: list[PrunedLayer]
    tokens: Tensor
    vision: Tensor
    cached: Tensor
    whole: Tensor
    whole_vision: Tensor


class Context(NamedTuple):
    """What all layers between two cuts share.

    Attributes:
        cos, sin: (B, 1, Q, D), the rotation of each position.
        mask: (B, 1, Q, L) bool, which keys a query sees.
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor


def check_decoder(decoder: Any, options: DropOptions) -> None:
    """Refuse a language model that would be computed wrongly.

    Raises:
        ValueError: its layers are of another class or have sliding windows, or a layer to cut behind is not
            there.
    """
    names = {type(layer).__name__ for layer in decoder.layers}
    if not names <= _LAYERS:
        raise ValueError(
            f"a language model of {', '.join(sorted(names))} cannot be reduced; Llama, Mistral and Qwen2 can"
        )
    if any(getattr(layer.self_attn, "sliding_window", None) for layer in decoder.layers):
        raise ValueError("a language model with sliding windows cannot be reduced")
    outside = [layer for layer in options.layers if not 0 <= layer < len(decoder.layers) - 1]
    if outside or list(options.layers) != sorted(set(options.layers)):
        raise ValueError(
            f"layers is {options.layers}; of {len(decoder.layers)} decoder layers give rising numbers from 0 "
            "on, with a layer behind each"
        )


def prefill(decoder: Any, given: Sequence, stays: Tensor, options: DropOptions) -> Prefill:
    """Run all layers over B prompts, dropping vision tokens on the way.

    decoder: a `LlamaModel` or one like it; given: the prompts as they came, (B, N, C); stays: (B, N) bool,
    False on padding and where a token was merged into another one.
    """
    length, prompt = given.x.shape[1], select(given, pack(stays))
    stages, steps = [prompt], []
    caches, tokens, vision = [], [], []
    context = _context(decoder, prompt.x, prompt.valid)
    for number, layer in enumerate(decoder.layers):
        now = stages[-1]
        tokens.append(now.valid.sum(dim=1))
        vision.append((now.picture >= 0).sum(dim=1))
        x, (q, k, v) = _run(layer, now.x, context, None, None)
        caches.append((k, v, len(stages) - 1))
        stages[-1] = now = now._replace(x=x)
        if number in options.layers and bool((now.picture >= 0).any()):
            attention = _attention(layer, q, k, context.mask)
            stays = drop_unattended(now, attention, options.global_threshold, options.individual_threshold)
            steps.append(pack(stays))
            stages.append(select(now, steps[-1]))
            context = _context(decoder, stages[-1].x, stages[-1].valid)
    first = min(options.layers, default=len(decoder.layers))
    layers = [
        _cut(cache, _through(stages, steps, cache[2] if number >= first else None), stages, length)
        for number, cache in enumerate(caches)
    ]
    hidden = _restore(decoder.norm(stages[-1].x), stages[-1].origin, length)
    return Prefill(
        hidden,
        layers,
        torch.stack(tokens).cpu(),
        torch.stack(vision).cpu(),
        torch.stack([layer.count for layer in layers]).cpu(),
        given.valid.sum(dim=1).cpu(),
        (given.picture >= 0).sum(dim=1).cpu(),
    )


def decode(decoder: Any, x: Tensor, valid: Tensor, layers: list[PrunedLayer], first: int) -> Tensor:
    """Run all layers over new tokens: x (B, Q, C), valid (B, Q) bool give (B, Q, C).

    layers: the caches, which grow; first: the first layer whose cache was cut, and that of all behind it.
    """
    for number, layer in enumerate(decoder.layers):
        if number in (0, first):
            context = _context(decoder, x, valid, layers[number].valid)
        x, _ = _run(layer, x, context, layers[number], valid)
    out: Tensor = decoder.norm(x)
    return out


def _run(
    layer: Any, x: Tensor, context: Context, past: PrunedLayer | None, valid: Tensor | None
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Run one layer; returns the stream and its queries, keys and values."""
    attn = layer.self_attn
    normed = layer.input_layernorm(x)
    q, k, v = (
        projection(normed).unflatten(-1, (-1, attn.head_dim)).transpose(1, 2)
        for projection in (attn.q_proj, attn.k_proj, attn.v_proj)
    )
    q, k = _rotate(q, context), _rotate(k, context)
    keys, values = (k, v) if past is None or valid is None else past.extend(k, v, valid)
    out = F.scaled_dot_product_attention(
        q, keys, values, attn_mask=context.mask, scale=attn.scaling, enable_gqa=q.shape[1] != keys.shape[1]
    )
    x = x + attn.o_proj(out.transpose(1, 2).flatten(2))
    x = x + layer.mlp(layer.post_attention_layernorm(x))
    return x, (q, k, v)


def _attention(layer: Any, q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
    """The attention map of a layer, averaged over its heads: (B, L, L), float32."""
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    logits = (q @ k.transpose(-2, -1)).float() * float(layer.self_attn.scaling)
    return logits.masked_fill(~mask, -torch.inf).softmax(dim=-1).mean(dim=1)


def _rotate(x: Tensor, context: Context) -> Tensor:
    one, two = x.chunk(2, dim=-1)
    return x * context.cos + torch.cat([-two, one], dim=-1) * context.sin


def _context(decoder: Any, x: Tensor, valid: Tensor, past: Tensor | None = None) -> Context:
    """Count positions over the valid tokens, and let each of them see those in front of it.

    valid: (B, Q) bool; past: (B, L) bool, the entries of a cache in front of them. Padding sees itself, as a
    softmax over nothing has no value.
    """
    batch, count = valid.shape
    before = valid.new_zeros(batch, 0) if past is None else past
    positions = before.sum(dim=1, keepdim=True) + (valid.cumsum(dim=1) - 1).clamp_min(0)
    cos, sin = decoder.rotary_emb(x, position_ids=positions)
    causal = torch.ones(count, count, dtype=torch.bool, device=x.device).tril()
    itself = torch.eye(count, dtype=torch.bool, device=x.device)
    own = (causal & valid[:, None]) | itself
    mask = torch.cat([before[:, None].expand(-1, count, -1), own], dim=2)
    return Context(cos[:, None], sin[:, None], mask[:, None])


def _through(stages: list[Sequence], steps: list[Tensor], stage: int | None) -> Tensor | None:
    """Say where the tokens left in the end stood in a stage: (B, K) int64, -1 for padding."""
    if stage is None or stage == len(stages) - 1:
        return None
    index = steps[-1]
    for step in reversed(steps[stage:-1]):
        index = take(step, index, -1)
    return index


def _cut(
    cache: tuple[Tensor, Tensor, int], index: Tensor | None, stages: list[Sequence], length: int
) -> PrunedLayer:
    keys, values, stage = cache
    if index is None:
        return PrunedLayer(keys, values, stages[stage].valid, length)
    keys, values = (take(part.transpose(1, 2), index).transpose(1, 2) for part in (keys, values))
    return PrunedLayer(keys, values, index >= 0, length)


def _restore(x: Tensor, origin: Tensor, length: int) -> Tensor:
    """Put tokens back to where they stood in the prompt: (B, L, C) to (B, length, C)."""
    spare = origin.masked_fill(origin < 0, length)[..., None].expand_as(x)
    return x.new_zeros(x.shape[0], length + 1, x.shape[2]).scatter(1, spare, x)[:, :length]
