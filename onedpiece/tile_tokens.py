"""A large photo's tiles as tokens, and what each of their tokens is worth to the photo."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from onedpiece.tiling import cut, grid_of, weights
from onedpiece.tokenizer.forecast import forecast

if TYPE_CHECKING:
    from onedpiece.codec import Codec

OVERLAP = 16  # pixels: enough for a fade without a visible seam, and each costs 6 % of the tokens
BATCH = 8  # tiles at once: more gain nothing on a processor and hold more
DECODED_UP_TO = 64  # tiles; of more, the forecast's errors cancel, and decoding them would take minutes
ANCHORS = (1 / 16, 1 / 5, 1 / 2, 1)  # shares of a tile's tokens at which its real error is measured

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Tiles done and tiles in all, in one pass over them."""


class TiledPhoto(NamedTuple):
    """A photo's tiles as tokens, before they share a budget.

    Attributes:
        size: (width, height) of the photo.
        indices: (T, N), all tokens of every tile.
        errors: (T, N), the squared error that each tile brings into the photo after 1 to N tokens, estimated.
    """

    size: tuple[int, int]
    indices: NDArray[np.int64]
    errors: NDArray[np.float64]


def tokenize_tiles(codec: "Codec", photo: Image.Image, progress: Progress | None = None) -> TiledPhoto:
    """Return the tokens of an RGB photo's tiles, and what each token is expected to bring."""
    grid = grid_of(photo.size, codec.side, OVERLAP)
    count = len(grid.corners)
    indices, errors = [], []
    for tiles in batches(zip(cut(photo, grid), weights(grid), strict=True)):
        stacked = torch.tensor(np.stack([np.asarray(picture) for picture, _ in tiles]))
        pixels = (stacked.permute(0, 3, 1, 2).float() / 255).to(codec.device)
        weight = torch.tensor(np.stack([weight for _, weight in tiles]))[:, None].to(codec.device)
        tokens = codec.tokenizer.tokenize(pixels)
        indices.append(tokens.cpu().numpy())
        expected = _forecast(codec, pixels, tokens)
        if expected is None or count <= DECODED_UP_TO:
            expected = _correct(expected, codec, pixels, tokens, weight)
        errors.append(expected)
        if progress:
            progress(sum(len(rows) for rows in indices), count)
    return TiledPhoto(photo.size, np.concatenate(indices), np.concatenate(errors))


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield lists of BATCH items, the last one shorter."""
    left = iter(items)
    while batch := list(islice(left, BATCH)):
        yield batch


def _forecast(codec: "Codec", pixels: Tensor, tokens: Tensor) -> NDArray[np.float64] | None:
    """The squared error of every prefix, (B, N), without a decoder; None where the model cannot tell."""
    path = codec.tokenizer.linear_path
    if path is None:
        return None
    decibels = forecast(path, pixels, codec.tokenizer.quantizer.codes_from_indices(tokens))
    return np.asarray(10 ** (-decibels.double().cpu().numpy() / 10))


def _correct(
    expected: NDArray[np.float64] | None, codec: "Codec", pixels: Tensor, tokens: Tensor, weight: Tensor
) -> NDArray[np.float64]:
    """Scale what is expected, (B, N), to what decodes of a few prefixes bring.

    The factor is drawn between them over the logarithm of the count; where nothing is expected, the error is.
    """
    most = tokens.shape[1]
    anchors = sorted(
        {max(1, round(most * share)) for share in ANCHORS} | ({1} if expected is None else set())
    )
    measured = np.stack([_error(codec, pixels, tokens[:, :count], weight) for count in anchors], axis=1)
    basis = np.ones((len(tokens), most)) if expected is None else expected
    factors = measured / basis[:, np.array(anchors) - 1]
    places = np.log2(np.arange(1, most + 1))
    drawn = [np.interp(places, np.log2(anchors), row) for row in factors]
    return np.asarray(basis * np.stack(drawn), np.float64)


def _error(codec: "Codec", pixels: Tensor, tokens: Tensor, weight: Tensor) -> NDArray[np.float64]:
    difference = (codec.tokenizer.detokenize(tokens) - pixels).square()
    return np.asarray((difference * weight).mean((1, 2, 3)).double().cpu().numpy())
