"""Do a photo's tiles show? The gradient across their borders, beside the same places under another tiling."""

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onedpiece.tiling import Grid

REACH = 2  # pixels either side of a border that belong to it
APART = 8  # pixels from the other tiling's borders at which a place counts as free of them


class Decoded(NamedTuple):
    """A part of a photo, decoded from tiles.

    Attributes:
        corner: (left, top) of the part in the photo.
        picture: the part, RGB.
        grid: its tiles.
    """

    corner: tuple[int, int]
    picture: Image.Image
    grid: Grid


class Border(NamedTuple):
    """A tile's border, and the place where it runs.

    Attributes:
        across: the mean gradient across the border, over that of the area that both parts show.
        without: the same at the same pixels of the other part, whose tiles have no border there.
    """

    across: float
    without: float


def borders(parts: Sequence[Decoded]) -> list[Border]:
    """Return every inner tile border of every part, beside every other part that shows the place without one.

    What stands at a place moves the gradient there by far more than a seam does, and tile borders keep to
    some places of a photo; between two tilings of one photo the difference is the border's alone.

    Args:
        parts: overlapping parts of one photo, each tiled on its own.
    """
    return [border for one, other in permutations(parts, 2) for border in _borders(one, other)]


def _borders(one: Decoded, other: Decoded) -> Iterator[Border]:
    for axis in (0, 1):  # along the width, then along the height
        steps = [_steps(part, one, other, axis) for part in (one, other)]
        start = max(one.corner[axis], other.corner[axis])
        places, others = ([place - start for place in _places(part, axis)] for part in (one, other))
        for place in places:
            inside = REACH < place < len(steps[0]) - REACH
            if inside and all(abs(place - theirs) >= APART for theirs in others):
                yield Border(*(float(each[place - REACH : place + REACH].mean()) for each in steps))


def _places(part: Decoded, axis: int) -> list[int]:
    """Where tiles begin and end inside a part, in pixels of the photo."""
    begins = (part.grid.lefts, part.grid.tops)[axis]
    inner = (*begins[1:], *(begin + part.grid.side for begin in begins[:-1]))
    return [part.corner[axis] + at for at in inner]


def _steps(part: Decoded, one: Decoded, other: Decoded, axis: int) -> NDArray[np.float64]:
    """The mean absolute step from each line to the next on the area two parts share, over the mean of all."""
    low = [max(pair) for pair in zip(one.corner, other.corner, strict=True)]
    ends = (np.add(each.corner, each.picture.size) for each in (one, other))
    high = [int(min(pair)) for pair in zip(*ends, strict=True)]
    left, top = part.corner
    area = part.picture.crop((low[0] - left, low[1] - top, high[0] - left, high[1] - top))
    grey = np.asarray(area, np.float64).mean(2)
    steps: NDArray[np.float64] = np.abs(np.diff(grey, axis=1 - axis)).mean(axis)
    return np.asarray(steps / steps.mean())
