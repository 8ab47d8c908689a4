"""Tokens ↔ bytes: the `Code` and the .odp file, version 1; no network, no torch."""

from onedpiece.bitstream.code import Code
from onedpiece.bitstream.format import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    MAX_SIDE,
    MAX_TOKENS,
)
from onedpiece.bitstream.tiles import Tiles
from onedpiece.errors import (
    AbsurdSizeError,
    BadMagicError,
    BitstreamError,
    CodebookSizeError,
    EmptyFileError,
    EntropyTablesError,
    IndexOutsideCodebookError,
    MalformedVarintError,
    NoTokensError,
    TilesError,
    TooManyTokensError,
    TrailingDataError,
    TruncatedHeaderError,
    UnknownVersionError,
    UnsupportedFlagError,
)

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MAX_TOKENS",
    "AbsurdSizeError",
    "BadMagicError",
    "BitstreamError",
    "Code",
    "CodebookSizeError",
    "EmptyFileError",
    "EntropyTablesError",
    "IndexOutsideCodebookError",
    "MalformedVarintError",
    "NoTokensError",
    "Tiles",
    "TilesError",
    "TooManyTokensError",
    "TrailingDataError",
    "TruncatedHeaderError",
    "UnknownVersionError",
    "UnsupportedFlagError",
]
