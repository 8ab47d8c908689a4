"""Entropy coding: tokens that are common where they stand take fewer bits; exact, in whole numbers only.

A token is written digit by digit (for FSQ: channel by channel), each with a static table of its position. The
digits narrow an interval: of [0, 1) each keeps its table's share. The payload is a short string of bytes all
of whose continuations lie in the last interval. As in `packing`, a payload cut after b bytes P says that
the number lies in [P, P + 1) / 256^b, and every leading token on which that whole interval agrees is certain.

No probability is ever a float, and nothing is rounded, so that every machine decodes the same tokens.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, chain, islice
from math import prod
from typing import Any

from onedpiece._providers import entropy_tables

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

    @property
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
    lower = _Reader(int.from_bytes(payload, "big"), len(payload), open_end=False)
    upper = _Reader(lower.value + 1, len(payload), open_end=True)
    indices: list[int] = []
    for position in range(len(tables.positions)):
        index, unit = 0, 1
        for starts in tables.starts(position):
            value = lower.next(starts)
            if value != upper.next(starts):
                return indices
            index += value * unit
            unit *= len(starts) - 1
        indices.append(index)
    return indices


class _Reader:
    """One end of what is known of the number, as a share of the digits' interval so far: value / scale."""

    def __init__(self, value: int, size: int, *, open_end: bool) -> None:
        self.value, self.scale, self.open_end = value, 1 << 8 * size, open_end

    def next(self, starts: Sequence[int]) -> int:
        scaled = self.value << TOTAL_BITS
        digit = bisect_right(starts, (scaled - self.open_end) // self.scale) - 1
        self.value = scaled - starts[digit] * self.scale
        self.scale *= starts[digit + 1] - starts[digit]
        return digit


TablesOf = Callable[[bytes], Tables | None]
"""A model's fingerprint -> the tables of its entropy coder, None where it has none."""


def known_tables(fingerprint: bytes) -> Tables | None:
    """Return the tables of a model that is bundled or was loaded in this process; None of all others."""
    tables: Tables | None = entropy_tables(fingerprint)
    return tables


def no_tables(fingerprint: bytes) -> None:
    """Know no tables: what writes plain files, and reads no others."""
