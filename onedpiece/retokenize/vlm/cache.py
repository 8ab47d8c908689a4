"""A layer of a cache that knows which of its entries are padding, and where the next token stands."""

from typing import Any, cast

import torch
from torch import LongTensor, Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer


class PrunedLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # its __init_subclass__
    """Keys and values of one decoder layer after tokens were dropped.

    Layers hold unequally many tokens, so each of them knows its own padding. To transformers' generation
    its length is that of the text as it was given, as if nothing had been dropped.

    Args:
        keys, values: (B, H, L, D).
        valid: (B, L) bool, False on padding.
        seen: how many tokens of the prompt, dropped ones and padding included, are behind it.
    """

    is_croppable = False

    def __init__(self, keys: Tensor, values: Tensor, valid: Tensor, seen: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        super().update(keys, values)
        self.valid = valid
        self.seen = seen

    @property
    def count(self) -> Tensor:
        """(B,) int64, how many tokens each sample has, which is the position of the next one."""
        return self.valid.sum(dim=1)

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values, padding included."""
        return sum(
            part.numel() * part.element_size() for part in (self.keys, self.values) if part is not None
        )

    def extend(self, keys: Tensor, values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Append tokens, (B, H, Q, D) and (B, Q) bool, and return all keys and values."""
        self.valid = torch.cat([self.valid, valid], dim=1)
        self.seen += keys.shape[2]
        whole: tuple[Tensor, Tensor] = super().update(keys, values)
        return whole

    def update(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Refuse: only a model with the reducer in it reads this layer rightly."""
        raise ValueError(
            "this cache was cut by a reducer that has been removed since; start with a new cache"
        )

    def get_seq_length(self) -> int:
        """Return the length of the text as it was given."""
        return self.seen

    def crop(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: tokens that were dropped cannot be counted back."""
        raise ValueError(
            "a cache cut by MustDrop cannot be cropped (assisted generation); remove() the reducer"
        )

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorder the samples for beam search."""
        super().reorder_cache(cast(LongTensor, beam_idx))
        self.valid = self.valid.index_select(0, beam_idx.to(self.valid.device))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sample."""
        super().batch_repeat_interleave(repeats)
        self.valid = self.valid.repeat_interleave(repeats, dim=0)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some of the samples."""
        super().batch_select_indices(indices)
        self.valid = self.valid[indices]


def pruned_layers(cache: Cache) -> list[PrunedLayer]:
    """Return the layers of a cache that a reduced model has filled; an empty list where none has.

    Raises:
        ValueError: the cache is of another kind, or an unreduced model has filled it.
    """
    if type(cache) is not DynamicCache or getattr(cache, "offloading", False):
        raise ValueError(f"MustDrop cuts a DynamicCache, not {type(cache).__name__}; leave cache options out")
    layers = [layer for layer in cache.layers if isinstance(layer, PrunedLayer)]
    if len(layers) < len(cache.layers) and cache.get_seq_length() > 0:
        raise ValueError("this cache was filled before the reducer was applied; start with a new cache")
    return layers
