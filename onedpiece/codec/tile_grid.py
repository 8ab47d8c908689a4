"""Photo ↔ overlapping square tiles: cutting, and blending without seams. No network."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onedpiece.bitstream.tiles import overlaps, starts

BAND = 256  # rows blended at once: the float sums of a whole photo would take four times the photo


class Grid(NamedTuple):
    """Where the tiles of a photo lie.

    Attributes:
        size: (width, height) of the photo.
        side: of a tile, in pixels.
        lefts: where the columns begin.
        tops: where the rows begin.
    """

    size: tuple[int, int]
    side: int
    lefts: list[int]
    tops: list[int]

    @property
    def corners(self) -> list[tuple[int, int]]:
        """(left, top) of every tile, row by row."""
        return [(left, top) for top in self.tops for left in self.lefts]


def grid_of(size: tuple[int, int], side: int, overlap: int) -> Grid:
    """Return the grid of a photo of `size`, (width, height); neighbours share at least `overlap` pixels."""
    return Grid(size, side, starts(size[0], side, overlap), starts(size[1], side, overlap))


def cut(photo: Image.Image, grid: Grid) -> Iterator[Image.Image]:
    """Yield every tile, (side, side), row by row; past the edge of a smaller photo its last pixels go on."""
    for left, top in grid.corners:
        right, bottom = min(left + grid.side, photo.width), min(top + grid.side, photo.height)
        piece = np.asarray(photo.crop((left, top, right, bottom)))
        missing = ((0, grid.side - piece.shape[0]), (0, grid.side - piece.shape[1]), (0, 0))
        yield Image.fromarray(np.pad(piece, missing, mode="edge"))


def blend(tiles: Sequence[NDArray[np.uint8]], grid: Grid) -> Image.Image:
    """Return the photo of its tiles; where they overlap, each fades out linearly towards its edge.

    Args:
        tiles: (side, side, 3) each, row by row.
        grid: where they lie.
    """
    width, height = grid.size
    across, down = _ramps(grid.lefts, grid.side), _ramps(grid.tops, grid.side)
    picture = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, BAND):
        bottom = min(top + BAND, height)
        total = np.zeros((bottom - top, width, 3), np.float32)
        weight = np.zeros((bottom - top, width, 1), np.float32)
        for row, tile_top in enumerate(grid.tops):
            first, last = max(top, tile_top), min(bottom, tile_top + grid.side)
            for column, left in enumerate(grid.lefts) if first < last else ():
                right = min(left + grid.side, width)
                inside = slice(first - tile_top, last - tile_top)
                fade = down[row][inside, None, None] * across[column][None, : right - left, None]
                tile = tiles[row * len(grid.lefts) + column][inside, : right - left]
                total[first - top : last - top, left:right] += fade * tile
                weight[first - top : last - top, left:right] += fade
        picture[top:bottom] = np.round(total / weight).astype(np.uint8)
    return Image.fromarray(picture)


def weights(grid: Grid) -> Iterator[NDArray[np.float32]]:
    """Yield how much every pixel of every tile counts in the blended photo, (side, side), row by row."""
    across, down = _ramps(grid.lefts, grid.side), _ramps(grid.tops, grid.side)
    for vertical in down:
        for horizontal in across:
            yield vertical[:, None] * horizontal


def _ramps(begins: list[int], side: int) -> list[NDArray[np.float32]]:
    """The weight of every pixel along one axis of every tile, (side,): above 0, and 1 where it is alone."""
    at = np.arange(side, dtype=np.float32) + 0.5
    return [
        np.minimum(at / before if before > 0 else 1, (side - at) / after if after > 0 else 1).clip(max=1)
        * np.ones(side, np.float32)
        for before, after in overlaps(begins, side)
    ]
