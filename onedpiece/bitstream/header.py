"""What stands before the tokens: reading, checking and writing it, trusting none of it."""

from operator import index
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onedpiece.bitstream.format import (
    DEFAULT_CODEBOOK_SIZE,
    FINGERPRINT_BYTES,
    FIXED_BYTES,
    MAGIC,
    MAX_CODEBOOK_SIZE,
    MAX_PIXELS,
    MAX_SIDE,
    MAX_TOKENS,
    SUPPORTED_FLAGS,
    VERSION,
    Flag,
    tells_its_length,
)
from onedpiece.bitstream.packing import ID_BYTES, Varint, read_varint, write_varint
from onedpiece.bitstream.tiles import Tiles, read_tiles, write_tiles
from onedpiece.errors import (
    AbsurdSizeError,
    BadMagicError,
    BitstreamError,
    CodebookSizeError,
    EmptyFileError,
    EntropyTablesError,
    IndexOutsideCodebookError,
    NoTokensError,
    TilesError,
    TooManyTokensError,
    TruncatedHeaderError,
    UnknownVersionError,
    UnsupportedFlagError,
)


class Header(NamedTuple):
    """The header's fields, and where the tokens start."""

    fingerprint: bytes
    size: tuple[int, int] | None  # width, height in pixels; None: the model's own
    codebook_size: int
    token_count: int | None  # None where the payload's length tells it
    end: int
    tiles: Tiles | None = None
    tables_id: bytes | None = None  # of the entropy coder's tables; None: plain tokens
    faithful: bool = False  # the look that the file asks for


def write_header(
    fingerprint: bytes,
    size: tuple[int, int] | None,
    codebook_size: int,
    count: int,
    tiles: Tiles | None = None,
    tables_id: bytes | None = None,
    faithful: bool = False,
) -> bytes:
    """Return the shortest header that says this; all values have been checked."""
    flags = Flag(0)
    fields = []
    if size is not None:
        flags |= Flag.SIZE
        fields += list(size)
    if codebook_size != DEFAULT_CODEBOOK_SIZE:
        flags |= Flag.CODEBOOK
        fields += [codebook_size] if tells_its_length(codebook_size) else [codebook_size, count]
    if tiles is not None:
        flags |= Flag.TILES
    if tables_id is not None:
        flags |= Flag.ENTROPY
    if faithful:
        flags |= Flag.FAITHFUL
    start = MAGIC + bytes([VERSION << 4 | flags]) + fingerprint
    table = b"" if tiles is None else write_tiles(tiles)
    return start + b"".join(write_varint(field) for field in fields) + table + (tables_id or b"")


class Peek(NamedTuple):
    """What stands in the first bytes of every file; `end` is where the rest of the header starts."""

    flags: Flag
    fingerprint: bytes
    size: tuple[int, int] | None
    end: int


def peek(data: bytes) -> Peek:
    """Read the first MAX_PEEK_BYTES of a file, or all of a shorter one: the model, and the picture's size.

    Raises:
        BitstreamError: as `read_header`.
    """
    flags = _read_flags(data)
    if len(data) < FIXED_BYTES:
        raise TruncatedHeaderError(
            f"the file ends after {len(data)} bytes, inside its header; expected {FIXED_BYTES} or more"
        )
    fingerprint, end = data[len(MAGIC) + 1 : FIXED_BYTES], FIXED_BYTES
    if not flags & Flag.SIZE:
        return Peek(flags, fingerprint, None, end)
    width, end = read_varint(data, end, "picture's width")
    height, end = read_varint(data, end, "picture's height")
    return Peek(flags, fingerprint, checked_size((width, height)), end)


def read_header(data: bytes) -> Header:
    """Read the header at the start of `data`.

    Raises:
        BitstreamError: the subclass that says what was found and what was expected.
    """
    flags, fingerprint, size, end = peek(data)
    codebook_size, count = DEFAULT_CODEBOOK_SIZE, None
    if flags & Flag.CODEBOOK:
        codebook_size, end = read_varint(data, end, "codebook's size")
        check_codebook_size(codebook_size)
        if not tells_its_length(codebook_size):
            count, end = _read_count(data, end)
    tiles = None
    if flags & Flag.TILES:
        if size is None or count is not None:
            raise TilesError("found tiles without the photo's size, or with a codebook that tiles cannot use")
        tiles, end = read_tiles(data, end, size)
    tables_id = None
    if flags & Flag.ENTROPY:
        tables_id, end = _read_tables_id(data, end, flags)
    return Header(fingerprint, size, codebook_size, count, end, tiles, tables_id, bool(flags & Flag.FAITHFUL))


def version_of(third_byte: int) -> int:
    """Return the version that a file's third byte states, beside its flags."""
    return third_byte >> 4 & 0b111


def _read_flags(data: bytes) -> Flag:
    if not data:
        raise EmptyFileError("the file is empty; expected an .odp file")
    if not MAGIC.startswith(data[:2]):
        raise BadMagicError(
            f"not an .odp file: it starts with {data[:2].hex(' ')} ({str(data[:8])[1:]}), "
            f"expected {MAGIC.hex(' ')}"
        )
    if len(data) <= len(MAGIC):
        raise TruncatedHeaderError(f"the file ends after {len(data)} bytes, inside its header")
    version, flags = version_of(data[2]), Flag(data[2] & 0b1000_1111)
    if version != VERSION:
        raise UnknownVersionError(
            f"the file is .odp version {version}; this onedpiece reads version {VERSION}"
        )
    if flags & ~SUPPORTED_FLAGS:
        raise UnsupportedFlagError(
            f"the file uses {(flags & ~SUPPORTED_FLAGS).name}, which needs a newer onedpiece than this one"
        )
    return flags


class _TablesId(NamedTuple):
    value: bytes
    end: int


def _read_tables_id(data: bytes, start: int, flags: Flag) -> _TablesId:
    if flags & (Flag.CODEBOOK | Flag.TILES):
        raise EntropyTablesError(
            f"found {flags.name} in one file; entropy coding goes with the usual codebook and no tiles"
        )
    end = start + ID_BYTES
    if len(data) < end:
        raise TruncatedHeaderError(
            f"the file ends after {len(data)} bytes, inside the name of its entropy tables"
        )
    return _TablesId(data[start:end], end)


def _read_count(data: bytes, start: int) -> Varint:
    count, end = read_varint(data, start, "token count")
    if count > MAX_TOKENS:
        raise TooManyTokensError(f"the header announces {count} tokens; expected at most {MAX_TOKENS}")
    if count == 0:
        raise NoTokensError("the header announces 0 tokens; expected at least 1")
    return Varint(count, end)


def check_codebook_size(codebook_size: int) -> None:
    """Raise CodebookSizeError unless 2 ≤ codebook_size ≤ 2^32."""
    if not 2 <= codebook_size <= MAX_CODEBOOK_SIZE:
        raise CodebookSizeError(
            f"found a codebook of {codebook_size} entries; expected 2 to {MAX_CODEBOOK_SIZE}"
        )


def check_fingerprint(fingerprint: bytes) -> None:
    """Raise BitstreamError unless the fingerprint has 4 bytes."""
    found = len(fingerprint) if isinstance(fingerprint, bytes) else repr(fingerprint)[:40]
    if found != FINGERPRINT_BYTES:
        raise BitstreamError(f"a fingerprint has {FINGERPRINT_BYTES} bytes; found {found}")


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return (width, height), in pixels.

    Raises:
        BitstreamError: they are no two whole numbers.
        AbsurdSizeError: nothing should allocate that.
    """
    try:
        width, height = (index(side) for side in size)
    except (TypeError, ValueError):
        raise BitstreamError(f"a size is (width, height) in whole pixels; found {size!r:.40}") from None
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
