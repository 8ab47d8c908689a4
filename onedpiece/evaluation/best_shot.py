"""A classical format's best shot at a byte budget: every scale, and the highest quality that fits at each."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from PIL import Image

from onedpiece.evaluation.formats import Format

SHARES = tuple(
    side / 256 for side in (1, 2, 4, 8, 12, 16, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 256)
)
"""Sides to try, as shares of the photo's; multiples of WebP's 16-pixel blocks among them on purpose."""

LOOK_AHEAD = 3  # sizes are not quite monotone: settings to try past the first that is too large


class Candidate(NamedTuple):
    """One file that fits the largest budget.

    Attributes:
        data: the whole file.
        setting: its scale and quality, for people.
    """

    data: bytes
    setting: str


def candidates(image: Image.Image, fmt: Format, budgets: Sequence[int]) -> list[Candidate]:
    """Return the files worth scoring: for each budget and each scale, the highest quality that fits.

    Args:
        image: RGB, any size.
        fmt: the format.
        budgets: whole-file bytes, in any order.

    Returns:
        Files of at most max(budgets) bytes, none twice; empty where nothing fits.
    """
    found: dict[bytes, Candidate] = {}
    for share in SHARES if fmt.scales else (1.0,):
        size = max(1, round(image.width * share)), max(1, round(image.height * share))
        small = image if share == 1 else image.resize(size, Image.Resampling.LANCZOS)
        fitting = _highest_that_fit(fmt, small, budgets)
        if not fitting:
            break  # larger pictures only make larger files
        for data, quality in fitting:
            found.setdefault(data, Candidate(data, f"{size[0]}x{size[1]} q{quality}"))
    return list(found.values())


def _highest_that_fit(fmt: Format, image: Image.Image, budgets: Sequence[int]) -> list[tuple[bytes, int]]:
    encode = cache(lambda at: fmt.encode(image, fmt.qualities[at]))
    chosen = (_last_that_fits(encode, len(fmt.qualities), budget) for budget in budgets)
    return [(encode(at), fmt.qualities[at]) for at in chosen if at is not None]


def _last_that_fits(encode: Callable[[int], bytes], count: int, budget: int) -> int | None:
    """Return the position of the highest quality whose file holds at most `budget` bytes."""
    low, high = 0, count  # invariant: whatever lies below `low` was seen to fit
    while low < high:
        middle = (low + high) // 2
        if len(encode(middle)) <= budget:
            low = middle + 1
        else:
            high = middle
    highest = min(low + LOOK_AHEAD, count) - 1
    return next((at for at in range(highest, -1, -1) if len(encode(at)) <= budget), None)


def restore(fmt: Format, data: bytes, size: tuple[int, int]) -> Image.Image:
    """Decode a file and bring it back to `size` (width, height) by bicubic interpolation."""
    image = fmt.decode(data)
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
