"""Sequences in pieces."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

BATCH = 8
"""Photos that a network takes at once: enough to fill the cores, few enough for any memory."""


def batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """Yield `items` in order, `size` at a time; the last piece may be shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))
