"""Every exception that the package raises on purpose; `OnedpieceError` is the base of all.

Each has the built-in that fits as a second base, so that `except ValueError` goes on to work.
"""


class OnedpieceError(Exception):
    """Something that onedpiece can say in one line, and whose fix is often in it.

    >>> import onedpiece
    >>> try:
    ...     onedpiece.Code.from_bytes(b"GIF89a")
    ... except onedpiece.OnedpieceError as error:
    ...     print(error)
    not an .odp file: it starts with 47 49 ('GIF89a'), expected d1 1d
    """


class BitstreamError(OnedpieceError, ValueError):
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


class PictureError(OnedpieceError, ValueError):
    """A picture that cannot be read, or is too large to be."""


class ShardError(OnedpieceError, ValueError):
    """A shard of training pictures that cannot be opened or is damaged; the message names it."""


class WrongModelError(OnedpieceError, ValueError):
    """A code that another model made."""


class TargetOutOfReachError(OnedpieceError):
    """No prefix of the code reaches the target; the message, one line, says what the best one reaches.

    Attributes:
        score: the best score there is.
        tokens: how many tokens it takes.
    """

    def __init__(self, message: str, score: float, tokens: int) -> None:
        super().__init__(message, score, tokens)
        self.score = score
        self.tokens = tokens

    @property
    def message(self) -> str:
        """What is out of reach, without how a program takes the best there is."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.message}; take that with best_effort=True"


class WeightsError(OnedpieceError, ValueError):
    """A model that is not there, is damaged, or is not one of ours; the message is one line."""


class HubError(WeightsError):
    """A file could not be had from the hub; the message is one line and says what to do."""


class MissingWeightsError(OnedpieceError, RuntimeError):
    """Pretrained weights of another network are neither on this machine nor to be downloaded."""


class NoOverlapError(OnedpieceError, ValueError):
    """Two rate-distortion curves share no range, so there is nothing to compare."""


class NotMonotoneError(OnedpieceError, ValueError):
    """A curve's quality does not rise with its rate, so that it has no inverse."""


class MissingFormatError(OnedpieceError, RuntimeError):
    """A picture format was asked for whose library is not on this machine."""


class ExternalCodecError(OnedpieceError, ValueError):
    """Somebody else's codec failed, in a comparison; the message, one line, has its own words."""


class MissingExtraError(OnedpieceError, RuntimeError, ModuleNotFoundError):
    """A part was asked for whose libraries are not on this machine; the message names what to install."""


class HeadError(OnedpieceError, ValueError):
    """A head that is damaged or makes no sense, or codes that it cannot read; one line."""


class CacheError(OnedpieceError, ValueError):
    """A file that is no cache of codes, or not the one that is needed."""


class DatasetError(OnedpieceError, ValueError):
    """A folder of labelled photos that is none, or a label in it that makes no sense; one line names it."""


class TrainingError(OnedpieceError, RuntimeError):
    """A training run cannot go on; the message, one line, says why and what is kept."""


class BulkError(OnedpieceError, RuntimeError):
    """A run over many photos that cannot go on; one line says why, and what is kept."""


class OtherRunError(OnedpieceError, ValueError):
    """A folder that another run over many photos began, or that holds something else."""
