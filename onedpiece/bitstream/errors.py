"""Everything that can be wrong with a file or a code, each under its own name."""


class BitstreamError(ValueError):
    """Bytes that are not an .odp file, or a code that no .odp file can hold."""


class EmptyFileError(BitstreamError):
    """There is not a single byte."""


class BadMagicError(BitstreamError):
    """The first two bytes are not those of an .odp file."""


class UnknownVersionError(BitstreamError):
    """The version is one that this library does not know."""


class UnsupportedFlagError(BitstreamError):
    """The file uses a feature that this library does not have yet."""


class TruncatedHeaderError(BitstreamError):
    """The file ends inside its header."""


class MalformedVarintError(BitstreamError):
    """A number in the header is written in more bytes than it needs, or than any number may take."""


class AbsurdSizeError(BitstreamError):
    """The picture would have no pixels, or more of them than anything should allocate."""


class CodebookSizeError(BitstreamError):
    """The codebook has fewer than two entries, or more than the format allows."""


class NoTokensError(BitstreamError):
    """The header is followed by less than one token."""


class TooManyTokensError(BitstreamError):
    """There are more tokens than the format, or the model, allows."""


class TrailingDataError(BitstreamError):
    """Bytes follow the last token that the header announces."""


class TilesError(BitstreamError):
    """The photo would be cut into tiles that overlap wholly, are too many, or hold too much."""


class EntropyTablesError(BitstreamError):
    """The tokens are entropy coded, and the tables they were coded with are not at hand."""


class IndexOutsideCodebookError(BitstreamError):
    """A token names a codebook entry that does not exist."""
