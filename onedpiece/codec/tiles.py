"""Photos of any size through a model of one size: tiles that share one budget or one target.

The tiles are tokenized first; the one budget is then allocated by how much of the squared error each token of
each tile is estimated to remove.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import NamedTuple, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onedpiece._progress import Progress
from onedpiece.bitstream import Code, Tiles
from onedpiece.bitstream.format import MAX_TILED_TOKENS
from onedpiece.bitstream.tiles import order, tile_count
from onedpiece.codec.model import EncodeResult, LoadedModel, decode_square, fit_square
from onedpiece.codec.quality import reach_square, scorer_beside, wants_faithful
from onedpiece.codec.tensors import Photo, as_array, resize, to_array, to_image
from onedpiece.codec.tile_grid import blend, cut, grid_of, weights
from onedpiece.metrics.pixel import image_psnr
from onedpiece.rate.allocation import allocate_tokens
from onedpiece.rate.search import find_min_tokens
from onedpiece.rate.target import QualityTarget, RateTarget

OVERLAP = 16  # pixels: enough for a fade without a visible seam, and each costs 6 % of the tokens
BATCH = 8  # tiles at once: more gain nothing on a processor and hold more
DECODED_UP_TO = 64  # tiles; of more, the estimate's errors cancel, and decoding them would take minutes
ANCHORS = (1 / 16, 1 / 5, 1 / 2, 1)  # parts of a tile's tokens at which its real error is measured
MIN_TOKENS = 16  # a tile on average, below which one square of the whole photo is better
STEP = 1.02  # budgets that a target is searched over are 2 % apart

T = TypeVar("T")


class EncodeOptions(TypedDict, total=False):
    """What `Codec.encode_batch_to` and its like take beside a target.

    Attributes:
        tiles: as in `Codec.encode`.
        best_effort: as in `Codec.encode`.
        progress: told of tiles done and tiles in all, for each photo that is cut into tiles.
    """

    tiles: bool | None
    best_effort: bool
    progress: Progress | None


class TokenizedTiles(NamedTuple):
    """A photo's tiles as tokens, before they share a budget.

    Attributes:
        size: (width, height) of the photo.
        indices: (T, N), all tokens of every tile.
        errors: (T, N), the squared error that each tile brings into the photo after 1 to N tokens, estimated.
    """

    size: tuple[int, int]
    indices: NDArray[np.int64]
    errors: NDArray[np.float64]


def tile_budget(model: LoadedModel, size: tuple[int, int]) -> int | None:
    """Return the bytes from which on tiles may beat one square of a photo of `size`; None if they cannot.

    They cannot where the photo is no larger than one tile, or takes more than a file may have.
    """
    count = tile_count(size, model.image_size, OVERLAP)
    too_many = count * model.num_tokens > MAX_TILED_TOKENS
    return None if count == 1 or too_many else int(np.ceil(MIN_TOKENS * count * model.bits_per_token / 8))


def tokenize_tiles(
    model: LoadedModel, photo: Image.Image, progress: Progress | None = None
) -> TokenizedTiles:
    """Return the tokens of an RGB photo's tiles, and what each token is expected to bring."""
    grid = grid_of(photo.size, model.image_size, OVERLAP)
    count = len(grid.corners)
    indices, errors = [], []
    for tiles in batches(zip(cut(photo, grid), weights(grid), strict=True)):
        pixels = to_array([picture for picture, _ in tiles])
        weight = np.stack([weight for _, weight in tiles])[:, None]
        rows = model.tokenize(pixels)
        indices.append(rows)
        expected = model.estimate_errors(pixels, rows)
        if expected is None or count <= DECODED_UP_TO:
            expected = _correct(expected, model, pixels, rows, weight)
        errors.append(expected)
        if progress:
            progress(sum(len(done) for done in indices), count)
    return TokenizedTiles(photo.size, np.concatenate(indices), np.concatenate(errors))


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield lists of BATCH items, the last one shorter."""
    left = iter(items)
    while batch := list(islice(left, BATCH)):
        yield batch


def _correct(
    expected: NDArray[np.float64] | None,
    model: LoadedModel,
    pixels: NDArray[np.float32],
    rows: NDArray[np.int64],
    weight: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Scale what is expected, (B, N), to what decodes of a few prefixes bring.

    The factor is interpolated over the logarithm of the count; where nothing is expected, the error is.
    """
    most = rows.shape[1]
    anchors = sorted({max(1, round(most * part)) for part in ANCHORS} | ({1} if expected is None else set()))
    measured = np.stack([_error(model, pixels, rows[:, :count], weight) for count in anchors], axis=1)
    basis = np.ones((len(rows), most)) if expected is None else expected
    factors = measured / basis[:, np.array(anchors) - 1]
    places = np.log2(np.arange(1, most + 1))
    drawn = [np.interp(places, np.log2(anchors), row) for row in factors]
    return np.asarray(basis * np.stack(drawn), np.float64)


def _error(
    model: LoadedModel, pixels: NDArray[np.float32], rows: NDArray[np.int64], weight: NDArray[np.float32]
) -> NDArray[np.float64]:
    difference = as_array(model.detokenize(list(rows))) - pixels
    return np.asarray((difference**2 * weight).mean((1, 2, 3), dtype=np.float64))


def compose(
    model: LoadedModel, tiled: TokenizedTiles, counts: NDArray[np.int64], *, faithful: bool = False
) -> Code:
    """Return the code that keeps `counts`, (T,), tokens of the tiles; `faithful` is the look it asks for."""
    tiles = Tiles(model.image_size, OVERLAP, tuple(counts.tolist()))
    origin = order(tiles)
    return replace(model.code(tiled.indices[origin.tile, origin.place], tiled.size, tiles), faithful=faithful)


def fit_budget(model: LoadedModel, tiled: TokenizedTiles, target: RateTarget) -> Code:
    """Return the best code within the target's tokens, bytes or bits a pixel; without any, all tokens.

    Raises:
        ValueError: the tokens are out of range, or not even one token a tile fits.
    """
    tiles, most = tiled.indices.shape
    if target.tokens is not None and not tiles <= target.tokens <= tiles * most:
        raise ValueError(f"tokens is {target.tokens}; {tiles} tiles take {tiles} to {tiles * most}")
    budget = target.bytes_for(tiled.size)
    if budget is None:
        return compose(model, tiled, allocate_tokens(tiled.errors, target.tokens or tiles * most))
    smallest = compose(model, tiled, np.ones(tiles, np.int64)).to_bytes()
    if len(smallest) > budget:
        raise ValueError(
            f"{target.budget_text(tiled.size)}; one token for each of {tiles} tiles takes {len(smallest)}"
        )
    total = min(int(8 * budget / model.bits_per_token), tiles * most)
    while True:
        code = compose(model, tiled, allocate_tokens(tiled.errors, total))
        excess = len(code.to_bytes()) - budget
        if excess <= 0:
            return code
        total = max(tiles, total - max(1, int(8 * excess / model.bits_per_token)))


def fit_photo(
    model: LoadedModel,
    photo: Photo,
    square: Code | None,
    target: RateTarget,
    tiles: bool | None = None,
    best_effort: bool = False,
    progress: Progress | None = None,
) -> EncodeResult:
    """Encode a photo to the target: as one square, or as tiles where it falls short and they are better.

    Args:
        model: encodes.
        photo: what is encoded.
        square: all tokens of the photo as one square; None: tiles, whatever they are.
        target: how large the file or how good the picture is to be.
        tiles: None: tiles may take the square's place.
        best_effort: where a quality is out of reach, take the best there is.
        progress: told of tiles.

    Raises:
        ValueError: the target is none for the photo.
        TargetOutOfReachError: nothing reaches it, and `best_effort` is off.
    """
    if square is None:
        return encode_tiled(model, photo.image, target, best_effort=best_effort, progress=progress)
    if target.quality:
        result = reach_square(model, photo, square, target.quality)
    else:
        result = fit_square(model, photo, square, target)
    if tiles is None and _asks_for_more(model, photo, result, target):
        tiled = encode_tiled(model, photo.image, target, best_effort=True, progress=progress)
        result = _better(model, photo, result, tiled, target)
    if target.quality and result.search and not (result.search.reached or best_effort):
        raise target.quality.out_of_reach(result.search.score, result.search.tokens)
    return result


def _asks_for_more(model: LoadedModel, photo: Photo, square: EncodeResult, target: RateTarget) -> bool:
    """Return whether tiles might meet a target better that the square falls short of."""
    budget = target.bytes_for(photo.size)
    if square.search:
        falls_short = not square.search.reached
    else:
        falls_short = budget is not None and len(square.code) == model.num_tokens
    least = tile_budget(model, photo.size) if falls_short else None
    return least is not None and (budget is None or budget >= least)


def _better(
    model: LoadedModel, photo: Photo, square: EncodeResult, tiled: EncodeResult, target: RateTarget
) -> EncodeResult:
    if target.quality and square.search and tiled.search:
        margin = target.quality.margin
        return tiled if margin(tiled.search.score) > margin(square.search.score) else square
    of_square = decode_square(model, square.code, photo.size, sharpness=0.0)
    of_tiles = decode_tiled(model, tiled.code, sharpness=0.0)
    gain = image_psnr(photo.image, of_tiles) - image_psnr(photo.image, of_square)
    return tiled if gain > 0 else square


def encode_tiled(
    model: LoadedModel,
    photo: Image.Image,
    target: RateTarget,
    *,
    best_effort: bool = False,
    progress: Progress | None = None,
) -> EncodeResult:
    """Encode an RGB photo as tiles that share the one budget, or reach the one quality together.

    Raises:
        ValueError: as `fit_budget`.
        TargetOutOfReachError: as `reach_tiled`.
    """
    tiled = tokenize_tiles(model, photo, progress)
    if target.quality is None:
        return EncodeResult(fit_budget(model, tiled, target), None)
    return reach_tiled(model, photo, tiled, target.quality, best_effort=best_effort, progress=progress)


def reach_tiled(
    model: LoadedModel,
    photo: Image.Image,
    tiled: TokenizedTiles,
    target: QualityTarget,
    *,
    best_effort: bool = False,
    progress: Progress | None = None,
) -> EncodeResult:
    """Return the smallest code, of budgets 2 % apart, whose decoded file reaches the target.

    `progress` is told of the tiles of each file that is tried.

    Raises:
        TargetOutOfReachError: all tokens together do not reach it, and `best_effort` is off.
    """
    tiles, most = tiled.indices.shape
    steps = int(np.ceil(np.log(most) / np.log(STEP)))
    totals = sorted({min(tiles * most, round(tiles * STEP**step)) for step in range(steps + 1)})
    shares = [allocate_tokens(tiled.errors, total) for total in totals]
    errors = [tiled.errors[np.arange(tiles), counts - 1].mean() for counts in shares]
    score, faithful = scorer_beside(target.metric, photo), wants_faithful(model, target)

    def code_of(step: int) -> Code:
        return compose(model, tiled, shares[step - 1], faithful=faithful)

    def measure(step: int) -> float:
        return score([decode_tiled(model, code_of(step), progress=progress)])[0]

    # What the search counts are steps of the budget, not tokens.
    psnr_curve = [float(-10 * np.log10(max(error, 1e-9))) for error in errors]
    found = find_min_tokens(target, measure, len(totals), psnr_curve)
    code = code_of(found.tokens)
    if not (found.reached or best_effort):
        raise target.out_of_reach(found.score, len(code))
    return EncodeResult(code, found._replace(tokens=len(code)))


def decode_tiled(
    model: LoadedModel, code: Code, sharpness: float | None = None, progress: Progress | None = None
) -> Image.Image:
    """Return the photo of a tiled code, or of a prefix: tiles it does not reach take the others' mean.

    Args:
        model: reads it.
        code: of tiles.
        sharpness: from 0 to 1; None: what the file asks for.
        progress: told of tiles done and tiles in all.
    """
    assert code.tiles is not None
    assert code.size is not None
    origin = order(code.tiles)
    held = origin.tile[: len(code)]
    counts = np.bincount(held, minlength=len(code.tiles.counts))
    rows = np.zeros((len(counts), int(counts.max())), np.int64)
    rows[held, origin.place[: len(code)]] = code.indices
    look = model.sharpness_of(code, sharpness)
    pictures = _decode_rows(model, rows, counts, code.tiles.side, look, progress)
    return blend(pictures, grid_of(code.size, code.tiles.side, code.tiles.overlap))


def _decode_rows(
    model: LoadedModel,
    rows: NDArray[np.int64],
    counts: NDArray[np.int64],
    side: int,
    sharpness: float,
    progress: Progress | None,
) -> list[NDArray[np.uint8]]:
    """Return the tiles, (side, side, 3) each, of rows (T, N) whose first `counts`, (T,), are tokens."""
    pictures: list[NDArray[np.uint8]] = [np.zeros((side, side, 3), np.uint8)] * len(rows)
    # Sorted by length, so that batches have little padding.
    by_length = [int(tile) for tile in np.argsort(counts, kind="stable") if counts[tile]]
    for done, tiles in enumerate(batches(by_length)):
        squares = as_array(model.detokenize([rows[tile, : counts[tile]] for tile in tiles], sharpness))
        for tile, square in zip(tiles, squares, strict=True):
            pictures[tile] = np.asarray(resize(to_image(square), (side, side)))
        if progress:
            progress(min((done + 1) * BATCH, len(by_length)), len(by_length))
    if len(by_length) < len(rows):
        mean = np.mean([pictures[tile].mean((0, 1)) for tile in by_length], axis=0)
        blank = np.broadcast_to(mean.round().astype(np.uint8), (side, side, 3))
        pictures = [picture if count else blank for picture, count in zip(pictures, counts, strict=True)]
    return pictures
