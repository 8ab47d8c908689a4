"""Do a photo's tiles show? The gradient across their borders, beside the same places under another tiling."""

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onedpiece.codec.tile_grid import Grid

REACH = 2  # pixels either side of a border, the steps between which belong to it
APART = 8  # pixels from the other tiling's borders at which a place counts as free of them

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in the photo."""


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
        parts: parts of one photo, each tiled on its own; every two share some of it.

    Raises:
        ValueError: two parts share nothing.
    """
    return [border for one, other in permutations(parts, 2) for border in _borders(one, other)]


def _borders(one: Decoded, other: Decoded) -> Iterator[Border]:
    area = _shared(one, other)
    for axis in (0, 1):  # along the width, then along the height
        steps, without = (_steps(part, area, axis) for part in (one, other))
        places, others = ([at - area[axis] for at in _places(part, axis)] for part in (one, other))
        for place in places:
            inside = REACH <= place <= len(steps) + 1 - REACH
            if inside and all(abs(place - theirs) >= APART for theirs in others):
                at = slice(place - REACH, place + REACH - 1)
                yield Border(float(steps[at].mean()), float(without[at].mean()))


def _shared(one: Decoded, other: Decoded) -> Box:
    """The area of the photo that two parts share."""
    left, top = (max(pair) for pair in zip(one.corner, other.corner, strict=True))
    right, bottom = (min(pair) for pair in zip(_end(one), _end(other), strict=True))
    if right - left < 2 or bottom - top < 2:
        raise ValueError(f"the parts at {one.corner} and {other.corner} share no area of the photo")
    return left, top, right, bottom


def _end(part: Decoded) -> tuple[int, int]:
    (left, top), (width, height) = part.corner, part.picture.size
    return left + width, top + height


def _places(part: Decoded, axis: int) -> list[int]:
    """Where tiles begin and end inside a part, in pixels of the photo."""
    begins = (part.grid.lefts, part.grid.tops)[axis]
    inner = (*begins[1:], *(begin + part.grid.side for begin in begins[:-1]))
    return [part.corner[axis] + at for at in inner]


def _steps(part: Decoded, area: Box, axis: int) -> NDArray[np.float64]:
    """The mean absolute step from each line of an area to the next, over their mean; 1 where all is flat."""
    left, top = part.corner
    inside = part.picture.crop((area[0] - left, area[1] - top, area[2] - left, area[3] - top))
    grey = np.asarray(inside, np.float64).mean(2)
    steps: NDArray[np.float64] = np.abs(np.diff(grey, axis=1 - axis)).mean(axis)
    return steps / steps.mean() if steps.any() else np.ones_like(steps)
