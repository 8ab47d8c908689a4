"""Packing for codebooks that are powers of two: fixed-width, most significant bit first."""

import numpy as np
from numpy.typing import NDArray


def pack_bits(indices: NDArray[np.int64], width: int) -> bytes:
    """Return the indices, (k,), as `width` bits each; zero bits fill the last byte."""
    places = np.arange(width - 1, -1, -1)
    bits = (indices[:, None] >> places) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def unpack_bits(payload: bytes, width: int) -> NDArray[np.int64]:
    """Return the ⌊8·bytes / width⌋ indices that the payload holds whole; left-over bits are ignored."""
    count = 8 * len(payload) // width
    bits = np.unpackbits(np.frombuffer(payload, np.uint8), count=count * width)
    places = np.left_shift(1, np.arange(width - 1, -1, -1, dtype=np.int64))
    return bits.reshape(count, width).astype(np.int64) @ places
