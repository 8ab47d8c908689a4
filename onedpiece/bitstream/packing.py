"""Tokens ↔ payload bytes: varints, plain packing, and the entropy coder."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import accumulate, chain, islice
from math import log2, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onedpiece import _providers
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


TOTAL_BITS = 16
TOTAL = 1 << TOTAL_BITS
TABLE_FORMAT = 1
ID_BYTES = 2
ENDINGS = 32  # payloads to try for one that does not read as one more token

Table = tuple[int, ...]
"""Frequencies of a digit's values, each at least 1, TOTAL in all."""


@dataclass(frozen=True)
class Tables:
    """The tables of one model: for every position of a token, one for each of its digits, the lowest first.

    Attributes:
        positions: for each position, the digits' tables; a digit has as many values as its table.

    Raises:
        ValueError: a table that does not add up, a value that could never be written, or unlike codebooks.
    """

    positions: tuple[tuple[Table, ...], ...]

    def __post_init__(self) -> None:
        if len({(size - 1).bit_length() for size in self._sizes}) != 1:
            raise ValueError("entropy tables need positions, all with a codebook of as many bits")
        for table in chain.from_iterable(self.positions):
            if sum(table) != TOTAL or min(table) < 1:
                raise ValueError(
                    f"an entropy table adds up to {sum(table)}; expected {TOTAL}, each 1 or more"
                )
        object.__setattr__(self, "_starts", tuple(tuple(map(_starts, digits)) for digits in self.positions))

    @property
    def codebook_size(self) -> int:
        """Number of values that a token can take, rounded up to a power of two where positions differ."""
        return self._sizes.pop() if len(self._sizes) == 1 else 1 << (max(self._sizes) - 1).bit_length()

    @property
    def _sizes(self) -> set[int]:
        return {prod(len(table) for table in digits) for digits in self.positions}

    @cached_property
    def id(self) -> bytes:
        """Two bytes that a file carries, so that other tables are refused and not misread."""
        return sha256(repr(self.positions).encode()).digest()[:ID_BYTES]

    @property
    def longest(self) -> int:
        """The most bytes that a payload has: 16 bits for every digit, and the last byte's slack."""
        return TOTAL_BITS // 8 * sum(len(digits) for digits in self.positions) + 1

    def fits(self, codebook_size: int, count: int) -> bool:
        """Say whether they code `count` tokens of such a codebook."""
        return codebook_size == self.codebook_size and count <= len(self.positions)

    def starts(self, position: int) -> Sequence[Sequence[int]]:
        """Where each value's share of [0, TOTAL) starts, for every digit of a position; TOTAL at the end."""
        starts: tuple[tuple[tuple[int, ...], ...], ...] = self._starts  # type: ignore[attr-defined]
        return starts[position]

    def to_plain(self) -> dict[str, Any]:
        """Return what `entropy.json` holds."""
        return {"format": TABLE_FORMAT, "total": TOTAL, "positions": self.positions}

    @classmethod
    def from_plain(cls, plain: Any) -> "Tables":
        """Build tables from what `entropy.json` holds.

        Raises:
            ValueError: it is not of this format, or as the class says.
        """
        if not isinstance(plain, dict) or plain.get("format") != TABLE_FORMAT or plain.get("total") != TOTAL:
            raise ValueError(f"these are no entropy tables of format {TABLE_FORMAT} that add up to {TOTAL}")
        return cls(
            tuple(
                tuple(tuple(int(count) for count in table) for table in digits)
                for digits in plain["positions"]
            )
        )


def _starts(table: Table) -> tuple[int, ...]:
    return tuple(accumulate(table, initial=0))


def pack_entropy(indices: Sequence[int], tables: Tables) -> bytes | None:
    """Return the payload of the first k ≤ N tokens.

    None where it would read as one more token, which happens to codes whose next token is all but certain,
    and where the tables have no place for a token.
    """
    low, width, bits = 0, 1, 0
    for position, index in enumerate(indices):
        for starts in tables.starts(position):
            index, value = divmod(index, len(starts) - 1)
            low = (low << TOTAL_BITS) + starts[value] * width
            width *= starts[value + 1] - starts[value]
            bits += TOTAL_BITS
        if index:
            return None
    payloads = islice(_inside(low, low + width, bits), ENDINGS)
    if len(indices) == len(tables.positions):  # there is no token more to read
        return next(payloads)
    return next((end for end in payloads if len(unpack_entropy(end, tables)) == len(indices)), None)


def _inside(low: int, high: int, bits: int) -> Iterator[bytes]:
    """Yield bytes P with [P, P + 1) / 256^len inside [low, high) / 2^bits, the shortest first."""
    size = max(0, bits - (high - low).bit_length()) // 8
    while True:
        first, last = -(-(low << 8 * size) >> bits), ((high << 8 * size) >> bits) - 1
        for value in range(first, last + 1):
            yield value.to_bytes(size, "big")
        size += 1


def unpack_entropy(payload: bytes, tables: Tables) -> list[int]:
    """Return the leading tokens, 0 to N, that a payload, whole or cut short, determines."""
    # What is known of the number, as shares of the digits' interval so far: value / scale to `gap` more.
    value, gap, scale = int.from_bytes(payload, "big"), 1, 1 << 8 * len(payload)
    indices: list[int] = []
    for position in range(len(tables.positions)):
        index, unit = 0, 1
        for starts in tables.starts(position):
            value, gap = value << TOTAL_BITS, gap << TOTAL_BITS
            digit = bisect_right(starts, value // scale) - 1
            value -= starts[digit] * scale
            scale *= starts[digit + 1] - starts[digit]
            if value + gap > scale:
                return indices
            index += digit * unit
            unit *= len(starts) - 1
        indices.append(index)
    return indices


TablesOf = Callable[[bytes], Tables | None]
"""A model's fingerprint -> the tables of its entropy coder, None where it has none."""


def known_tables(fingerprint: bytes) -> Tables | None:
    """Return the tables of a model that is bundled or was loaded in this process; None of all others."""
    if fingerprint in _providers.entropy_tables:
        stated: Tables | None = _providers.entropy_tables[fingerprint]
        return stated
    found = (source(fingerprint) for source in _providers.entropy_table_sources)
    return next((tables for tables in found if tables is not None), None)


def no_tables(fingerprint: bytes) -> None:
    """Know no tables: what writes plain files, and reads no others."""
