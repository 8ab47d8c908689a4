"""What a code may be: one check a field, the same for writing and reading."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onedpiece.bitstream.errors import (
    AbsurdSizeError,
    BitstreamError,
    CodebookSizeError,
    IndexOutsideCodebookError,
    NoTokensError,
    TooManyTokensError,
)
from onedpiece.bitstream.layout import FINGERPRINT_BYTES, MAX_CODEBOOK_SIZE, MAX_PIXELS, MAX_SIDE, MAX_TOKENS


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
