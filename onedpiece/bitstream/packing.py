"""The tokens' part of a file: whole numbers as bytes, each packing with the way back.

Codebooks that are powers of two take fixed-width bits, most significant first; all others one fraction:
k tokens in base N are the integer V < N^k, and the payload is the first multiple of 256^-B that is not below
V / N^k, with the least B for which 256^B ≥ N^k: no payload of whole bytes can be shorter. A payload cut after
b bytes P still says that the fraction lies in [P, P + 1) / 256^b, and every leading token on which that whole
interval agrees is known for certain. Header fields are unsigned LEB128: seven bits a byte, lowest first, the
high bit set on all but the last.
"""

from math import log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onedpiece.bitstream.format import MAX_TOKENS, MAX_VARINT_BYTES
from onedpiece.errors import MalformedVarintError, TooManyTokensError, TrailingDataError, TruncatedHeaderError

_LEAF = 32  # tokens below which a plain loop beats halving


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
        count: tokens of the whole payload; None only where its length says it (`format.tells_its_length`).
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


class Varint(NamedTuple):
    """A number that was read, and the offset of the byte after it."""

    value: int
    end: int


def write_varint(value: int) -> bytes:
    """Return the bytes of `value`, 0 ≤ value < 2^35."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, start: int, what: str) -> Varint:
    """Read the number that starts at offset `start`; `what` names it in errors.

    Raises:
        TruncatedHeaderError: the data ends before the number does.
        MalformedVarintError: it is longer than five bytes, or than it needs to be.
    """
    value = 0
    for position in range(MAX_VARINT_BYTES):
        if start + position >= len(data):
            raise TruncatedHeaderError(
                f"the file ends after {len(data)} bytes, inside the {what} of its header"
            )
        byte = data[start + position]
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            if byte == 0 and position:
                raise MalformedVarintError(
                    f"the {what} in the header is padded with zero bytes; write it shortest"
                )
            return Varint(value, start + position + 1)
    raise MalformedVarintError(
        f"the {what} in the header goes on after {MAX_VARINT_BYTES} bytes; expected an end"
    )
