"""The numbers that make up .odp version 1: every id, flag and bound, written by hand.

A file is::

    magic            2 bytes
    version, flags   1 byte: Flag.FAITHFUL in the highest bit, the version in three, the other flags
    fingerprint      4 bytes: the code space, all that it takes to read the tokens
    width, height    2 varints, only with Flag.SIZE
    codebook size    1 varint, only with Flag.CODEBOOK
    token count      1 varint, only with Flag.CODEBOOK and a codebook whose payload does not tell it
    tiles            4 varints and a table, only with Flag.TILES (which needs Flag.SIZE): the tiles' side,
                     their least overlap, the fewest tokens of a tile, the spread from there to the most;
                     each tile's count less the fewest, row by row, in as many bits as the spread has
    tables           2 bytes, only with Flag.ENTROPY, which goes with no other than Flag.SIZE: a digest of
                     the entropy coder's tables
    tokens           ⌈k·log2(codebook)/8⌉ bytes, first token first; with Flag.ENTROPY as `entropy` says
"""

from enum import IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onedpiece.errors import (
    AbsurdSizeError,
    BitstreamError,
    CodebookSizeError,
    IndexOutsideCodebookError,
    NoTokensError,
    TooManyTokensError,
)

MAGIC = b"\xd1\x1d"
"""No ASCII or UTF-8 text starts so: 0xD1 opens a character that the control code 0x1D does not continue."""

VERSION = 1
FINGERPRINT_BYTES = 4
FIXED_BYTES = len(MAGIC) + 1 + FINGERPRINT_BYTES
DEFAULT_CODEBOOK_SIZE = 4096

MAX_TOKENS = 65_536  # 256 times the longest code of any published model
MAX_TILES = 16_384  # 180 megapixels in tiles of 256 make 3,600
MAX_TILED_TOKENS = 1 << 20  # of all tiles together: 4,096 tiles of 256
MAX_CODEBOOK_SIZE = 1 << 32  # four bytes a token; published codebooks end at 2^18
MAX_SIDE = 65_535  # pixels; JPEG's limit as well
MAX_PIXELS = 178_956_970  # where Pillow, too, refuses a picture as a decompression bomb
MAX_VARINT_BYTES = 5  # 35 bits: enough for every number above
MAX_PEEK_BYTES = FIXED_BYTES + 2 * MAX_VARINT_BYTES  # where the picture's size has ended
MAX_FILE_BYTES = FIXED_BYTES + 8 * MAX_VARINT_BYTES + 3 * MAX_TILES + 4 * MAX_TILED_TOKENS


class Flag(IntFlag):
    """The third byte but for its version: what a file makes use of."""

    SIZE = 0b0001  # the photo's own width and height follow: they differ from the model's
    CODEBOOK = 0b0010  # the codebook has another size than 4096
    ENTROPY = 0b0100  # tokens are entropy coded with the model's tables, whose id follows
    TILES = 0b1000  # several codes, one a tile, their tokens in the order of `tiles.order`
    FAITHFUL = 0b1000_0000  # show the faithful picture, not the sharp one, unless the user asks for another


SUPPORTED_FLAGS = Flag.SIZE | Flag.CODEBOOK | Flag.ENTROPY | Flag.TILES | Flag.FAITHFUL


def tells_its_length(codebook_size: int) -> bool:
    """Say whether the payload's length in bytes alone gives the number of tokens.

    It does for powers of two from 256 on: the bits left over in the last byte are fewer than one token.
    A codebook that is no power of two needs the exact count to place its tokens at all (see `packing`).
    """
    return codebook_size >= 256 and codebook_size & (codebook_size - 1) == 0


def check_codebook_size(codebook_size: int) -> None:
    """Raise CodebookSizeError unless 2 ≤ codebook_size ≤ 2^32."""
    if not 2 <= codebook_size <= MAX_CODEBOOK_SIZE:
        raise CodebookSizeError(
            f"found a codebook of {codebook_size} entries; expected 2 to {MAX_CODEBOOK_SIZE}"
        )


def check_fingerprint(fingerprint: bytes) -> None:
    """Raise BitstreamError unless the fingerprint has 4 bytes."""
    if len(fingerprint) != FINGERPRINT_BYTES:
        raise BitstreamError(f"a fingerprint has {FINGERPRINT_BYTES} bytes; found {len(fingerprint)}")


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return (width, height), in pixels, or raise AbsurdSizeError where nothing should allocate that."""
    width, height = (int(side) for side in size)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise AbsurdSizeError(
            f"found a picture of {width}x{height} pixels; expected sides of 1 to {MAX_SIDE} "
            f"and at most {MAX_PIXELS} pixels in all"
        )
    return width, height


def checked_indices(indices: Any, codebook_size: int, limit: int = MAX_TOKENS) -> NDArray[np.int64]:
    """Return the indices as a read-only (k,) int64 array of their own.

    Raises:
        BitstreamError: they are not whole numbers in one dimension.
        NoTokensError, TooManyTokensError: there are none, or more than `limit`.
        IndexOutsideCodebookError: one is negative or not below `codebook_size`.
    """
    array = np.asarray(indices)
    if array.ndim != 1:
        raise BitstreamError(f"indices have shape {array.shape}; expected one dimension, (k,)")
    if not len(array):
        raise NoTokensError("there is no whole token; expected at least 1")
    if len(array) > limit:
        raise TooManyTokensError(f"found {len(array)} tokens; expected at most {limit}")
    if array.dtype.kind not in "iu":
        raise BitstreamError(f"indices are of type {array.dtype}; expected integers")
    outside = np.flatnonzero((array < 0) | (array >= codebook_size))
    if len(outside):
        place = int(outside[0])
        raise IndexOutsideCodebookError(
            f"token {place} is {array[place]}; expected 0 to {codebook_size - 1}, "
            f"the entries of a codebook of {codebook_size}"
        )
    array = array.astype(np.int64)
    array.flags.writeable = False
    return array
