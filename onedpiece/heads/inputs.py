"""From what callers hold - one code, several of different lengths, a batch - to one batch of tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from onedpiece.bitstream import Code
from onedpiece.heads.errors import HeadError

Codes = Code | Tensor | Sequence[Code | Tensor]
"""One photo's code, a (B, k) tensor of equally long ones, or a list of codes of any lengths."""


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

    Args:
        codes: a Code; a (k,) or (B, k) integer tensor; or a list of Codes and (k,) tensors.

    Raises:
        HeadError: there are none, one is empty, or one is cut into tiles.
    """
    if isinstance(codes, Tensor) and codes.ndim == 2:
        return CodeBatch(codes.long(), None)
    single = [codes] if isinstance(codes, Code | Tensor) else list(codes)
    rows = [_row(code) for code in single]
    if not rows:
        raise HeadError("no codes were given; a head reads one or more")
    lengths = torch.tensor([len(row) for row in rows])
    indices = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return CodeBatch(indices, None if bool((lengths == lengths[0]).all()) else lengths)


def _row(code: Code | Tensor) -> Tensor:
    if isinstance(code, Code):
        if code.tiles is not None:
            raise HeadError("this code is a mosaic of tiles; heads read one piece, encode without tiles")
        return torch.from_numpy(code.indices.copy())
    if code.ndim != 1 or not len(code):
        raise HeadError(f"a code is {tuple(code.shape)}; give (k,) integers, k at least 1")
    return code.long()


def check_codes(codes: Codes, fingerprint: bytes) -> None:
    """Refuse a Code that another model has made; bare tensors say nothing of where they are from.

    Raises:
        HeadError: the fingerprints differ.
    """
    several = [codes] if isinstance(codes, Code | Tensor) else codes
    for code in several:
        if isinstance(code, Code) and code.fingerprint != fingerprint:
            raise HeadError(
                f"the code is of model {code.fingerprint.hex()}, the head reads codes of model "
                f"{fingerprint.hex()}; encode the photo with that model, or take a head for this one"
            )
