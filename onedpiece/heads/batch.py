"""What a head may be given, as one batch of tokens: codes, files, tensors, rows of a Parquet file."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onedpiece.bitstream import Code
from onedpiece.codes import TokenBatch
from onedpiece.errors import HeadError

Row = Code | bytes | Tensor | NDArray[Any] | Mapping[str, Any]
"""One photo: a code, the bytes of an `.odp` file, (k,) integers, or a row that `onedpiece bulk` wrote."""

Codes = Row | TokenBatch | Sequence[Row]
"""One photo, a (B, k) tensor or array of equally long ones, a padded batch, or a list of any lengths."""


class CodeBatch(NamedTuple):
    """Codes side by side.

    Attributes:
        indices: (B, k) int64; 0 behind a sample's length.
        lengths: (B,) int64 in 1…k; None where all are k long.
    """

    indices: Tensor
    lengths: Tensor | None


def pad_codes(codes: Codes) -> CodeBatch:
    """Return codes as one batch, padded to the longest.

    Raises:
        HeadError: there are none, one is empty, or one is cut into tiles.
        BitstreamError: bytes are no file of codes.
    """
    if isinstance(codes, TokenBatch):
        return _batch(codes.tokens.long() * codes.mask, codes.mask.sum(dim=1))
    if isinstance(codes, Tensor | np.ndarray) and codes.ndim == 2:
        return CodeBatch(torch.as_tensor(codes).long(), None)
    rows = [_tokens(row) for row in _several(codes)]
    if not rows:
        raise HeadError("no codes were given; a head reads one or more")
    lengths = torch.tensor([len(row) for row in rows])
    return _batch(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)


def check_codes(codes: Codes, code_space: bytes) -> None:
    """Refuse a code, a file or a row of another code space; bare tokens say nothing of where they are from.

    Raises:
        HeadError: the code spaces differ.
        BitstreamError: as `pad_codes`.
    """
    if isinstance(codes, TokenBatch):
        return
    for row in _several(codes):
        found = _code_space(row)
        if found not in (None, code_space.hex()):
            raise HeadError(
                f"the code is of code space {found}, the head reads code space "
                f"{code_space.hex()}; encode the photo with that model, or take a head for this one"
            )


def _several(codes: Any) -> Sequence[Row]:
    single = isinstance(codes, Code | bytes | Tensor | np.ndarray | Mapping)
    return [codes] if single else list(codes)


def _batch(indices: Tensor, lengths: Tensor) -> CodeBatch:
    same = bool((lengths == indices.shape[1]).all())
    return CodeBatch(indices, None if same else lengths)


def _tokens(row: Row) -> Tensor:
    if isinstance(row, bytes):
        row = Code.from_bytes(row)
    if isinstance(row, Code):
        if row.tiles is not None:
            raise HeadError("this code is a mosaic of tiles; heads read one piece, encode without tiles")
        return torch.from_numpy(row.indices.copy())
    if isinstance(row, Mapping):
        if row.get("tokens") is None:
            raise HeadError(
                f"{row.get('key', 'a row')} has no tokens: {row.get('error') or 'no such column'}"
            )
        row = np.asarray(row["tokens"], np.int64)
    tokens = torch.as_tensor(row)
    if tokens.ndim != 1 or not len(tokens):
        raise HeadError(f"a code is {tuple(tokens.shape)}; give (k,) integers, k at least 1")
    return tokens.long()


def _code_space(row: Row) -> str | None:
    """Return the 8 hexadecimal digits that a row names, or None."""
    if isinstance(row, bytes):
        row = Code.from_bytes(row)
    if isinstance(row, Code):
        return row.fingerprint.hex()
    return row.get("code_space") if isinstance(row, Mapping) else None
