"""A photo as overlapping squares, each with a code of its own: where they lie, and whose the next token is.

All is whole-number arithmetic on what the header says, so that every machine reads the same order.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onedpiece.bitstream.format import (
    MAX_SIDE,
    MAX_TILED_TOKENS,
    MAX_TILES,
    MAX_TOKENS,
)
from onedpiece.bitstream.packing import pack_bits, read_varint, unpack_bits, write_varint
from onedpiece.errors import BitstreamError, TilesError, TruncatedHeaderError


@dataclass(frozen=True)
class Tiles:
    """How a photo is cut, and how many tokens each tile has in the whole file, row by row.

    Attributes:
        side: of a tile, in pixels of the photo.
        overlap: the least that neighbours share, in pixels, below `side`.
        counts: tokens of each tile, all at least 1.

    Raises:
        TilesError: a field that no .odp file can hold.
    """

    side: int
    overlap: int
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if not (1 <= self.side <= MAX_SIDE and 0 <= self.overlap < self.side):
            raise TilesError(
                f"found tiles of {self.side} pixels that overlap by {self.overlap}; expected an overlap "
                f"below the side, and a side of at most {MAX_SIDE}"
            )
        if not 1 <= len(self.counts) <= MAX_TILES:
            raise TilesError(f"found {len(self.counts)} tiles; expected 1 to {MAX_TILES}")
        if min(self.counts) < 1 or max(self.counts) > MAX_TOKENS or sum(self.counts) > MAX_TILED_TOKENS:
            raise TilesError(
                f"found tiles of {min(self.counts)} to {max(self.counts)} tokens, {sum(self.counts)} in all; "
                f"expected 1 to {MAX_TOKENS} each, and at most {MAX_TILED_TOKENS} in all"
            )


class Origin(NamedTuple):
    """Which tile each token of a file belongs to, (K,), and its place in that tile's code, (K,)."""

    tile: NDArray[np.int64]
    place: NDArray[np.int64]


def starts(length: int, side: int, overlap: int) -> list[int]:
    """Return where the tiles begin along one axis of `length` pixels: evenly spread, the last at the end."""
    if length <= side:
        return [0]
    gaps = -(-(length - side) // (side - overlap))
    return [(2 * at * (length - side) + gaps) // (2 * gaps) for at in range(gaps + 1)]


def tile_count(size: tuple[int, int], side: int, overlap: int) -> int:
    """Return how many tiles cover a photo of `size`, (width, height), without making the list."""
    across, down = (1 if length <= side else 1 - (-(length - side) // (side - overlap)) for length in size)
    return across * down


def order(tiles: Tiles) -> Origin:
    """Return the order of a file's tokens: every tile's first, then all tiles in step with their counts.

    A tile's j-th of n tokens stands at (j + ½)/n of the file, so that a prefix shares its tokens out as the
    whole file does. Where gains fall by one power law everywhere, that is the order of importance.
    """
    counts = np.array(tiles.counts, np.int64)
    tile = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(tile)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = ((2 * place + 1) << 40) // (2 * counts[tile])
    rank = np.lexsort((tile, np.where(place == 0, -1, share)))
    return Origin(tile[rank], place[rank])


def write_tiles(tiles: Tiles) -> bytes:
    """Return the tiles' part of a header: four varints, then the counts in as few bits as will do."""
    least = min(tiles.counts)
    spread = max(tiles.counts) - least
    fields = b"".join(write_varint(value) for value in (tiles.side, tiles.overlap, least, spread))
    return fields + pack_bits(np.array(tiles.counts, np.int64) - least, spread.bit_length())


class TilesRead(NamedTuple):
    """The tiles of a header, and the offset of the byte after them."""

    tiles: Tiles
    end: int


def read_tiles(data: bytes, start: int, size: tuple[int, int]) -> TilesRead:
    """Read the tiles' part of the header of a photo of `size`, at offset `start`.

    Raises:
        BitstreamError: the subclass that says what was found and what was expected.
    """
    values = [start]
    for what in ("tiles' side", "tiles' overlap", "tiles' fewest tokens", "tiles' spread of tokens"):
        value, values[0] = read_varint(data, values[0], what)
        values.append(value)
    end, side, overlap, least, spread = values
    Tiles(side, overlap, (1,))  # its checks come before anything is divided by them
    count, width = tile_count(size, side, overlap), spread.bit_length()
    if count > MAX_TILES or least + spread > MAX_TOKENS:
        raise TilesError(
            f"found {count} tiles of up to {least + spread} tokens; "
            f"expected at most {MAX_TILES} of {MAX_TOKENS}"
        )
    table = data[end : end + -(-count * width // 8)]
    if 8 * len(table) < count * width:
        raise TruncatedHeaderError(f"the file ends after {len(data)} bytes, inside the table of its tiles")
    extra = unpack_bits(table, width)[:count] if width else np.zeros(count, np.int64)
    return TilesRead(Tiles(side, overlap, tuple((extra + least).tolist())), end + len(table))


def check_tiles(tiles: Tiles, size: tuple[int, int] | None, tells_length: bool) -> None:
    """Raise BitstreamError unless a photo of this size has these tiles, in a codebook that tiles can use."""
    if size is None or not tells_length:
        raise BitstreamError("tiles need the photo's size, and a codebook of a power of two from 256 on")
    expected = tile_count(size, tiles.side, tiles.overlap)
    if len(tiles.counts) != expected:
        raise TilesError(
            f"found {len(tiles.counts)} tiles; expected {expected} for {size[0]}x{size[1]} pixels"
        )


def overlaps(begins: list[int], side: int) -> list[tuple[int, int]]:
    """Return how many pixels each tile along an axis shares with the one before it and the one after."""
    shared = [0, *(side - (after - before) for before, after in pairwise(begins)), 0]
    return list(pairwise(shared))
