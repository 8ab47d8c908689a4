"""The tokens' part of a file, for any codebook size: one of two packings."""

import numpy as np
from numpy.typing import NDArray

from onedpiece.bitstream.bits import pack_bits, unpack_bits
from onedpiece.bitstream.errors import TooManyTokensError, TrailingDataError
from onedpiece.bitstream.fraction import is_short, pack_fraction, unpack_fraction
from onedpiece.bitstream.layout import MAX_TOKENS


def pack(indices: NDArray[np.int64], codebook_size: int) -> bytes:
    """Return the indices, (k,), each in [0, codebook_size), as ⌈k·log2(codebook_size)/8⌉ bytes."""
    width = _bit_width(codebook_size)
    return pack_bits(indices, width) if width else pack_fraction(indices, codebook_size)


def unpack(
    payload: bytes, codebook_size: int, count: int | None, limit: int = MAX_TOKENS
) -> NDArray[np.int64]:
    """Return the tokens that the payload holds whole.

    Args:
        payload: what follows the header, whole or cut short.
        codebook_size: entries of the codebook.
        count: tokens of the whole payload; None only where its length says it (`layout.tells_its_length`).
        limit: the most tokens that any such code has.

    Raises:
        TooManyTokensError: the payload is longer than any code.
        TrailingDataError: the payload is longer than `count` tokens take.
    """
    width = _bit_width(codebook_size)
    _check_length(len(payload), codebook_size, count, limit)
    if width or count is None:
        return unpack_bits(payload, width)[:count]
    return unpack_fraction(payload, codebook_size, count)


def _bit_width(codebook_size: int) -> int:
    """Bits of one token where the codebook is a power of two, else 0."""
    return 0 if codebook_size & (codebook_size - 1) else codebook_size.bit_length() - 1


def _check_length(length: int, codebook_size: int, count: int | None, limit: int) -> None:
    if count is None:
        held = 8 * length // _bit_width(codebook_size)
        if held > limit:
            raise TooManyTokensError(
                f"found {length} bytes of tokens, {held} tokens; expected at most {limit}"
            )
    elif length and not is_short(length - 1, codebook_size, count):
        raise TrailingDataError(f"found {length} bytes of tokens; {count} tokens of this codebook take fewer")
