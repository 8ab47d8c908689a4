"""What a prompt costs a language model: operations of the prefill and bytes of the cache, counted.

Matrix products alone, two operations a multiplication and addition, as torch's flop counter counts them.
"""

from typing import Any, NamedTuple

from torch import Tensor

from onedpiece.retokenize.vlm.decoder import Prefill


class Cost(NamedTuple):
    """Of one batch of prompts, padding not counted.

    Attributes:
        flops, flops_whole: operations of the language model's layers in the prefill, as it ran and with every
            vision token.
        cache_bytes, cache_bytes_whole: the cache behind it.
        vision_tokens, vision_tokens_whole: of one prompt, in the mean over the layers.
    """

    flops: int
    flops_whole: int
    cache_bytes: int
    cache_bytes_whole: int
    vision_tokens: float
    vision_tokens_whole: float

    def __str__(self) -> str:
        """One line."""
        saved = 1 - self.flops / self.flops_whole
        cached = 1 - self.cache_bytes / self.cache_bytes_whole
        mebibytes, whole = self.cache_bytes / 2**20, self.cache_bytes_whole / 2**20
        return (
            f"{self.vision_tokens:.1f} of {self.vision_tokens_whole:.0f} vision tokens a layer, "
            f"{self.flops / 1e9:.3g} of {self.flops_whole / 1e9:.3g} GFLOPs (-{saved:.1%}), "
            f"{mebibytes:.3g} of {whole:.3g} MiB of cache (-{cached:.1%})"
        )


def layer_flops(config: Any, tokens: int) -> int:
    """Operations of one decoder layer over a prompt of `tokens`.

    config: of a Llama-like language model. Seven projections, and two products of every query with every key.
    """
    width = int(config.hidden_size)
    head = int(getattr(config, "head_dim", None) or width // config.num_attention_heads)
    queries, keys = head * int(config.num_attention_heads), head * int(config.num_key_value_heads)
    weights = 2 * width * queries + 2 * width * keys + 3 * width * int(config.intermediate_size)
    return 2 * tokens * weights + 4 * tokens**2 * queries


def cache_bytes(config: Any, tokens: int, itemsize: int) -> int:
    """Bytes of the keys and values that one layer keeps for `tokens`."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * int(config.num_key_value_heads) * int(head) * tokens * itemsize


def cost_of(config: Any, prefill: Prefill) -> Cost:
    """Count a prefill: its own lengths, and those of the prompts as they were given."""
    whole = prefill.whole.expand_as(prefill.tokens)
    whole_vision = prefill.whole_vision.float().mean()
    itemsize = prefill.hidden.element_size()

    def flops(lengths: Tensor) -> int:
        return sum(layer_flops(config, int(count)) for count in lengths.flatten())

    def kept(lengths: Tensor) -> int:
        return cache_bytes(config, int(lengths.sum()), itemsize)

    return Cost(
        flops(prefill.tokens),
        flops(whole),
        kept(prefill.cached),
        kept(whole),
        float(prefill.vision.float().mean()),
        float(whole_vision),
    )
