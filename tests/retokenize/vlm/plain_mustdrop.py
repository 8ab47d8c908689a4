"""MustDrop on one prompt without padding, written out plainly over transformers' own layers and maps."""

import inspect
import itertools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

PRUNED = (2, 6, 10, 14)


class Outcome(NamedTuple):
    """What one prompt gave.

    Attributes:
        tokens: generated ids.
        cached: the length of each layer's cache behind the prefill.
        merged: vision tokens of each picture that went into the language model.
    """

    tokens: list[int]
    cached: list[int]
    merged: list[int]


def encoder_layer(layer: Any, x: Tensor) -> Tensor:
    """Run one block of a vision tower, whose own forward takes other arguments in each version."""
    x = x + layer.self_attn(layer.layer_norm1(x), attention_mask=None)[0]
    return x + layer.mlp(layer.layer_norm2(x))


def encode(model: Any, picture: Tensor, threshold: float) -> tuple[Tensor, list[bool]]:
    """Features of a picture (1, 3, 84, 84), and which of them are key."""
    tower = getattr(model.model.vision_tower, "vision_model", model.model.vision_tower)
    prefix = int(hasattr(tower, "pre_layrnorm"))
    x = tower.embeddings(picture)
    x = tower.pre_layrnorm(x) if prefix else x
    x = encoder_layer(tower.encoder.layers[0], x)[0]
    rows = list(x[:prefix])
    windows = {}
    for top, left in itertools.product((0, 3), (0, 3)):
        places = [6 * (top + down) + left + right for down, right in itertools.product(range(3), repeat=2)]
        pairs = itertools.permutations(places, 2)
        cosines = [F.cosine_similarity(x[prefix + a], x[prefix + b], dim=0) for a, b in pairs]
        if sum(cosines) / len(cosines) >= threshold:
            windows |= dict.fromkeys(places, places)
    for place in range(36):
        if place not in windows:
            rows.append(x[prefix + place])
        elif place == windows[place][0]:
            rows.append(x[[prefix + each for each in windows[place]]].mean(dim=0))
    x = torch.stack(rows)[None]
    for layer in tower.encoder.layers[1:-1]:
        x = encoder_layer(layer, x)
    last = tower.encoder.layers[-1]
    maps = last.self_attn(last.layer_norm1(x), attention_mask=None, output_attentions=True)[1]
    attention = maps.mean(dim=1)[0]
    score = (attention[0] if prefix else attention.mean(dim=0))[prefix:]
    best = score.topk(math.ceil(0.08 * len(score))).indices.tolist()
    return model.model.multi_modal_projector(x[0, prefix:]), [each in best for each in range(len(score))]


def attend(
    layer: Any, x: Tensor, rotary: Any, position: Tensor, mask: Any, cache: Any
) -> tuple[Tensor, Tensor]:
    """Run one decoder layer: x (1, L, C) and its attention map."""
    name = "cache" if "cache" in inspect.signature(layer.forward).parameters else "past_key_values"
    out, attention = layer.self_attn(
        layer.input_layernorm(x),
        position_embeddings=rotary(x, position_ids=position),
        attention_mask=mask,
        **{name: cache},
    )
    x = x + out
    return x + layer.mlp(layer.post_attention_layernorm(x)), attention


@torch.no_grad()
def generate(
    model: Any, ids: Tensor, pictures: Tensor, thresholds: tuple[float, float], window: float, steps: int
) -> Outcome:
    """Greedily generate `steps` tokens behind the prompt ids (1, N) with its pictures (P, 3, 84, 84)."""
    decoder = model.model.language_model
    encoded = [encode(model, picture[None], window) for picture in pictures]
    rows, owner, key, run = [], [], [], 0
    embedded = decoder.embed_tokens(ids)[0]
    for place, token in enumerate(ids[0].tolist()):
        if token != 127:
            rows, owner, key = [*rows, embedded[place]], [*owner, None], [*key, False]
        elif run % 36 == 0:
            features, keys = encoded[run // 36]
            rows, owner, key = [*rows, *features], [*owner, *[run // 36] * len(features)], [*key, *keys]
        run += token == 127
    x, cache = torch.stack(rows)[None], DynamicCache()
    alive, held = list(range(len(rows))), []
    for number, layer in enumerate(decoder.layers):
        count = len(alive)
        mask = torch.full((count, count), -torch.inf).triu(1)[None, None]
        x, attention = attend(layer, x, decoder.rotary_emb, torch.arange(count)[None], mask, cache)
        held.append(alive)
        if number in PRUNED:
            text = [row for row, each in enumerate(alive) if owner[each] is None]
            seen = attention.mean(dim=1)[0][text]
            total, peak = seen.sum(dim=0), seen.amax(dim=0)
            mass = [
                sum(float(total[row]) for row, each in enumerate(alive) if owner[each] == picture)
                for picture in range(len(pictures))
            ]
            stays = [
                row
                for row, each in enumerate(alive)
                if owner[each] is None
                or key[each]
                or total[row] >= thresholds[0] * mass[owner[each]]
                or peak[row] >= thresholds[1]
            ]
            x, alive = x[:, stays], [alive[row] for row in stays]
    for number, layer in enumerate(cache.layers):
        if number >= PRUNED[0]:
            left = [held[number].index(each) for each in alive]
            layer.keys, layer.values = layer.keys[:, :, left], layer.values[:, :, left]
    cached = [layer.keys.shape[2] for layer in cache.layers]
    tokens = [int(model.lm_head(decoder.norm(x[:, -1])).argmax())]
    while len(tokens) < steps:
        x = decoder.embed_tokens(torch.tensor([[tokens[-1]]]))
        for number, layer in enumerate(decoder.layers):
            position = torch.tensor([[cache.layers[number].keys.shape[2]]])
            x, _ = attend(layer, x, decoder.rotary_emb, position, None, cache)
        tokens.append(int(model.lm_head(decoder.norm(x[:, -1])).argmax()))
    return Outcome(tokens, cached, [len(features) for features, _ in encoded])
