"""Packing for codebooks of any size: the whole code is one number, the payload a fraction in [0, 1).

k tokens in base N are the integer V < N^k. The payload is the first multiple of 256^-B that is not below
V / N^k, with the least B for which 256^B ≥ N^k: no payload of whole bytes can be shorter. A payload cut after
b bytes P still says that the fraction lies in [P, P + 1) / 256^b, and every leading token on which that whole
interval agrees is known for certain.
"""

from math import log2

import numpy as np
from numpy.typing import NDArray

_LEAF = 32  # tokens below which a plain loop beats halving


def payload_bytes(count: int, base: int) -> int:
    """Return ⌈count·log2(base)/8⌉, exactly."""
    last: int = base**count - 1
    return (last.bit_length() + 7) // 8


def is_short(length: int, base: int, count: int) -> bool:
    """Say whether `length` bytes are fewer than `count` tokens take; cheap whatever `count` claims."""
    # One byte of slack for log2's rounding: only nearly full length is worth the exact comparison.
    return length + 1 < count * log2(base) / 8 or length < payload_bytes(count, base)


def pack_fraction(indices: NDArray[np.int64], base: int) -> bytes:
    """Return the indices, (k,), each in [0, base), as ⌈k·log2(base)/8⌉ bytes."""
    size = payload_bytes(len(indices), base)
    value = _join([int(index) for index in indices], base)
    total: int = base ** len(indices)
    return (-((-value << 8 * size) // total)).to_bytes(size, "big")


def unpack_fraction(payload: bytes, base: int, count: int) -> NDArray[np.int64]:
    """Return the leading tokens, 0 to `count` of them, that `payload`, whole or cut short, determines.

    The work is bounded by the payload's length, whatever `count` claims.
    """
    short = is_short(len(payload), base, count)
    tokens = _common_tokens(payload, base, count) if short else _tokens_at(payload, base, count)
    return np.array(tokens, np.int64)


def _tokens_at(payload: bytes, base: int, count: int) -> list[int]:
    value = int.from_bytes(payload, "big") * base**count >> 8 * len(payload)
    return _split(value, base, count)


def _common_tokens(payload: bytes, base: int, count: int) -> list[int]:
    known = min(count, int(8 * len(payload) / log2(base)))
    if not known:
        return []
    total = base**known
    lowest = int.from_bytes(payload, "big") * total
    highest = lowest + total - 1  # the interval is open above
    first = _split(lowest >> 8 * len(payload), base, known)
    last = _split(highest >> 8 * len(payload), base, known)
    agreed = next((place for place, (a, b) in enumerate(zip(first, last, strict=True)) if a != b), known)
    return first[:agreed]


def _join(digits: list[int], base: int) -> int:
    if len(digits) <= _LEAF:
        value = 0
        for digit in digits:
            value = value * base + digit
        return value
    # Halving keeps the products balanced, where Python multiplies faster than in quadratic time.
    low = len(digits) // 2
    shift: int = base**low
    return _join(digits[:-low], base) * shift + _join(digits[-low:], base)


def _split(value: int, base: int, count: int) -> list[int]:
    if count <= _LEAF:
        digits = [0] * count
        for place in reversed(range(count)):
            value, digits[place] = divmod(value, base)
        return digits
    low = count // 2
    high, rest = divmod(value, base**low)
    return _split(high, base, count - low) + _split(rest, base, low)
