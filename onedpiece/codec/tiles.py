"""Photos of any size through a codec of one size: tiles that share one budget or one target.

The tiles are tokenized first; the one budget is then spent by what the forecast of each tile says that a
token takes away of the squared error.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from onedpiece.bitstream import Code, Tiles
from onedpiece.bitstream.tiles import order, tile_count
from onedpiece.codec.images import resize
from onedpiece.codec.tile_grid import blend, cut, grid_of, weights
from onedpiece.metrics.registry import image_scorer
from onedpiece.rate.allocation import share
from onedpiece.rate.search import Found, fewest
from onedpiece.rate.target import Aim, Target

if TYPE_CHECKING:
    from onedpiece.codec.codec import Codec

OVERLAP = 16  # pixels: enough for a fade without a visible seam, and each costs 6 % of the tokens
BATCH = 8  # tiles at once: more gain nothing on a processor and hold more
DECODED_UP_TO = 64  # tiles; of more, the forecast's errors cancel, and decoding them would take minutes
ANCHORS = (1 / 16, 1 / 5, 1 / 2, 1)  # shares of a tile's tokens at which its real error is measured

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Tiles done and tiles in all, in one pass over them."""


AUTOMATIC_ABOVE = 1024  # pixels of the longer side: four photo pixels a model pixel, and all detail is gone
LEAST_SHARE = 16  # tokens a tile on average, below which one picture of the whole photo is better
STEP = 1.02  # budgets that a target is searched over are 2 % apart


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
    decibels = path.forecast(pixels, codec.tokenizer.quantizer.codes_from_indices(tokens))
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


def wants_tiles(codec: "Codec", size: tuple[int, int], aim: Aim, tiles: bool | None) -> bool:
    """Return whether a photo of `size` is cut: as `tiles` says, or where that is None, if it is worth it."""
    if tiles is not None:
        return tiles
    if max(size) <= AUTOMATIC_ABOVE or aim.tokens is not None:
        return False
    budget = aim.bytes_for(size)
    least = LEAST_SHARE * tile_count(size, codec.side, OVERLAP) * codec.bits_per_token / 8
    return budget is None or budget >= least


def compose(codec: "Codec", photo: TiledPhoto, counts: NDArray[np.int64]) -> Code:
    """Return the code in which each tile has so many tokens, `counts` (T,)."""
    tiles = Tiles(codec.side, OVERLAP, tuple(counts.tolist()))
    origin = order(tiles)
    return Code(
        photo.indices[origin.tile, origin.place],
        codec.tokenizer.config.codebook_size,
        codec.fingerprint,
        photo.size,
        tiles,
    )


def within(codec: "Codec", photo: TiledPhoto, aim: Aim) -> Code:
    """Return the best code for a budget: so many tokens, bytes or bits a pixel, or else all tokens.

    Raises:
        ValueError: there are not so many tokens, or not even one token a tile fits.
    """
    tiles, most = photo.indices.shape
    if aim.tokens is not None and not tiles <= aim.tokens <= tiles * most:
        raise ValueError(f"tokens is {aim.tokens}; {tiles} tiles take {tiles} to {tiles * most}")
    budget = aim.bytes_for(photo.size)
    if budget is None:
        return compose(codec, photo, share(photo.errors, aim.tokens or tiles * most))
    smallest = compose(codec, photo, np.ones(tiles, np.int64)).to_bytes()
    if len(smallest) > budget:
        raise ValueError(
            f"the budget is {budget} bytes; one token for each of {tiles} tiles takes {len(smallest)}"
        )
    total = min(int(8 * budget / codec.bits_per_token), tiles * most)
    while len((code := compose(codec, photo, share(photo.errors, total))).to_bytes()) > budget:
        excess = len(code.to_bytes()) - budget
        total = max(tiles, total - max(1, int(8 * excess / codec.bits_per_token)))
    return code


class Reached(NamedTuple):
    """A code, and how the search for its target went; None without a target."""

    code: Code
    found: Found | None


def encode_tiled(
    codec: "Codec",
    photo: Image.Image,
    aim: Aim,
    *,
    best_effort: bool = False,
    progress: Progress | None = None,
) -> Reached:
    """Encode an RGB photo as tiles that share the aim's one budget, or reach its one target together.

    Raises:
        ValueError: as `within`.
        TargetOutOfReachError: as `reach_tiled`.
    """
    tiled = tokenize_tiles(codec, photo, progress)
    if aim.target is None:
        return Reached(within(codec, tiled, aim), None)
    return reach_tiled(codec, photo, tiled, aim.target, best_effort=best_effort)


def reach_tiled(
    codec: "Codec", picture: Image.Image, photo: TiledPhoto, target: Target, *, best_effort: bool = False
) -> Reached:
    """Return the smallest code, of budgets 2 % apart, whose decoded file reaches the target.

    Raises:
        TargetOutOfReachError: all tokens together do not reach it, and `best_effort` is off.
    """
    tiles, most = photo.indices.shape
    steps = int(np.ceil(np.log(most) / np.log(STEP)))
    totals = sorted({min(tiles * most, round(tiles * STEP**step)) for step in range(steps + 1)})
    codes = [share(photo.errors, total) for total in totals]
    errors = [photo.errors[np.arange(tiles), counts - 1].mean() for counts in codes]
    score = image_scorer(target.metric, picture)
    found = fewest(
        target,
        lambda step: score([decode_tiled(codec, compose(codec, photo, codes[step - 1]))])[0],
        len(totals),
        [float(-10 * np.log10(max(error, 1e-9))) for error in errors],
    )
    code = compose(codec, photo, codes[found.tokens - 1])
    if not (found.reached or best_effort):
        raise target.out_of_reach(found.score, len(code))
    return Reached(code, found._replace(tokens=len(code)))


def decode_tiled(codec: "Codec", code: Code, progress: Progress | None = None) -> Image.Image:
    """Return the photo of a tiled code, or of a prefix: tiles it does not reach take the others' mean."""
    assert code.tiles is not None
    assert code.size is not None
    origin = order(code.tiles)
    held = origin.tile[: len(code)]
    counts = np.bincount(held, minlength=len(code.tiles.counts))
    rows = np.zeros((len(counts), int(counts.max())), np.int64)
    rows[held, origin.place[: len(code)]] = code.indices
    pictures = _decode_rows(codec, rows, counts, code.tiles.side, progress)
    return blend(pictures, grid_of(code.size, code.tiles.side, code.tiles.overlap))


def _decode_rows(
    codec: "Codec", rows: NDArray[np.int64], counts: NDArray[np.int64], side: int, progress: Progress | None
) -> list[NDArray[np.uint8]]:
    pictures: list[NDArray[np.uint8]] = [np.zeros((side, side, 3), np.uint8)] * len(rows)
    # Tiles of like length go together, so that little is computed for padding.
    by_length = [int(tile) for tile in np.argsort(counts, kind="stable") if counts[tile]]
    for done, tiles in enumerate(batches(by_length)):
        lengths = torch.tensor(counts[list(tiles)])
        indices = torch.tensor(rows[list(tiles), : int(lengths.max())]).to(codec.device)
        for tile, picture in zip(tiles, codec.tokenizer.detokenize(indices, lengths).cpu(), strict=True):
            levels = (picture * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
            pictures[tile] = np.asarray(resize(Image.fromarray(levels), (side, side)))
        if progress:
            progress(min((done + 1) * BATCH, len(by_length)), len(by_length))
    if len(by_length) < len(rows):
        mean = np.mean([pictures[tile].mean((0, 1)) for tile in by_length], axis=0)
        blank = np.broadcast_to(mean.round().astype(np.uint8), (side, side, 3))
        pictures = [picture if count else blank for picture, count in zip(pictures, counts, strict=True)]
    return pictures
