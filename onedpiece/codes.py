"""Tokens by the row, as `onedpiece bulk` writes them: what its Parquet files say, and batches to train on.

import onedpiece, datasets
rows = datasets.load_dataset("parquet", data_files="tokens/*.parquet", split="train")
tokens, mask = onedpiece.codes.batch(rows[:32], pad_to=256)
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onedpiece._files import one_line
from onedpiece.errors import CacheError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
INFO_KEY = b"onedpiece.bulk"
"""Under which a shard's metadata hold its `ShardInfo`."""

ROWS = "_rows"
"""The folder of a run's shards where their files lie beside them."""

MAX_CODEBOOK_SIZE = 1 << 16
"""Tokens are kept in 16 bits."""


@dataclass(frozen=True)
class ShardInfo:
    """What is true of all rows of a shard."""

    code_space: str  # what the tokens mean, 8 hexadecimal digits
    codebook_size: int
    num_tokens: int  # the most of one picture
    image_size: int  # side of the model's pictures, in pixels
    faithful: bool  # whether a file of these tokens asks for the faithful look

    def to_metadata(self) -> dict[bytes, bytes]:
        """Return it as a Parquet file holds it."""
        return {INFO_KEY: json.dumps({"format": FORMAT, **asdict(self)}).encode()}


def has_info(schema: Any) -> bool:
    """Say whether a Parquet schema is that of a shard of tokens."""
    return INFO_KEY in (schema.metadata or {})


def read_info(source: Any, name: str) -> ShardInfo:
    """Return what a shard says of its rows.

    Args:
        source: a path, or a file that is open for reading.
        name: the shard's, for messages.

    Raises:
        CacheError: it is no shard of tokens.
        OSError: it cannot be opened.
        MissingExtraError: pyarrow is not installed.
    """
    pa, parquet = pyarrow()
    try:
        stored = (parquet.ParquetFile(source).schema_arrow.metadata or {}).get(INFO_KEY)
        if stored is None:
            raise CacheError(f"{name} holds no tokens: it was not written by onedpiece bulk")
        plain = json.loads(stored)
        if plain.pop("format") != FORMAT:
            raise CacheError(f"{name} has another format than {FORMAT}; make it anew")
        return ShardInfo(**plain)
    except (pa.ArrowInvalid, TypeError, KeyError) as error:
        raise CacheError(f"{name} holds no tokens: {one_line(error)}") from None


def find_shards(path: str | Path) -> list[Path]:
    """List the shards of a run's folder by their number; a file is the one shard that it is.

    Raises:
        CacheError: the folder holds none.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    shards = sorted((path / ROWS if (path / ROWS).is_dir() else path).glob("*.parquet"))
    if not shards:
        raise CacheError(f"{path} holds no .parquet file with tokens; make them with onedpiece bulk")
    return shards


def pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and pyarrow.parquet.

    Raises:
        MissingExtraError: they are not installed.
    """
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError(
            "Parquet files need an extra: pip install 'onedpiece[bulk]' or 'onedpiece[heads]'"
        ) from error


class TokenBatch(NamedTuple):
    """Tokens of one length.

    Attributes:
        tokens: (B, L) int64, 0 or what was asked for where there is none.
        mask: (B, L) bool, True where there is a token.
    """

    tokens: "Tensor"
    mask: "Tensor"


def batch(rows: Any, pad_to: int = 256, pad_with: int = 0) -> TokenBatch:
    """Return rows as one tensor of `pad_to` tokens each, and where there are any.

    A longer row is cut: the first tokens are a coarser picture of the same photo.

    >>> tokens, mask = batch([[5, 3, 8], [7]], pad_to=2)
    >>> tokens.tolist(), mask.tolist()
    ([[5, 3], [7, 0]], [[True, True], [True, False]])

    Args:
        rows: what pandas, pyarrow or datasets give of such a file: columns with one named "tokens", a list
            of rows with a field "tokens", or a list of the tokens themselves.
        pad_to: L, 1 or more.
        pad_with: stands behind the last token; one above the codebook, where a model wants to tell it.

    Raises:
        ValueError: a row has no tokens, as its picture could not be read.
    """
    if pad_to < 1:
        raise ValueError(f"pad_to is {pad_to}; give how many tokens a row is to have, 1 or more")
    return pad([_checked(tokens, at) for at, tokens in enumerate(_token_lists(rows))], pad_to, pad_with)


def pad(rows: Sequence[NDArray[Any]], length: int, pad_with: int = 0) -> TokenBatch:
    """Return rows of tokens, (K,) each, as one tensor of `length` tokens each; longer ones are cut."""
    import torch

    lengths = np.array([min(len(tokens), length) for tokens in rows], np.int64)
    mask = np.arange(length) < lengths[:, None]
    padded = np.full((len(rows), length), pad_with, np.int64)
    if rows:
        padded[mask] = np.concatenate([tokens[:length] for tokens in rows])
    return TokenBatch(torch.from_numpy(padded), torch.from_numpy(mask))


def _token_lists(rows: Any) -> Iterable[Any]:
    if hasattr(rows, "keys") or hasattr(rows, "column_names"):
        column = rows["tokens"]
        return column.to_pylist() if hasattr(column, "to_pylist") else column  # type: ignore[no-any-return]
    return [row["tokens"] if hasattr(row, "keys") else row for row in rows]


def _checked(tokens: Sequence[int] | None, at: int) -> NDArray[np.int64]:
    if tokens is None or np.ndim(tokens) != 1 or not len(tokens):
        raise ValueError(
            f"row {at} has no tokens, as its picture could not be read; leave out rows whose error is set"
        )
    return np.asarray(tokens, np.int64)
