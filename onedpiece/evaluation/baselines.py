"""Classical formats in a comparison: the best file within each budget, chosen anew for each metric.

A format's best shot at a budget is over every scale, with the highest quality that fits at each.
"""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from PIL import Image

from onedpiece.codec.tensors import to_tensor
from onedpiece.evaluation.formats import Format, image_format
from onedpiece.evaluation.photos import Photo
from onedpiece.evaluation.results import Shot
from onedpiece.metrics.registry import Metric, Scorer

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


def score_classical(photo: Photo, name: str, budgets: Sequence[int], scorer: Scorer) -> list[Shot]:
    """Return the shots of one photo by the format `name`; a budget that nothing fits has none.

    Raises:
        MissingFormatError: the format's library is missing.
    """
    fmt = image_format(name)
    files = candidates(photo.image, fmt, budgets)
    if not files:
        return []
    images = to_tensor([restore(fmt, file.data, photo.image.size) for file in files])
    reference = to_tensor([photo.image])
    shots: list[Shot] = []
    for metric in scorer.metrics:
        scores = scorer.score(metric.name, reference, images)
        for budget in budgets:
            best = _best(files, scores, budget, metric)
            if best is not None:
                file = files[best]
                shots.append(
                    Shot(photo.name, name, budget, metric.name, scores[best], file.data, file.setting)
                )
    return shots


def _best(files: Sequence[Candidate], scores: Sequence[float], budget: int, metric: Metric) -> int | None:
    fitting = [at for at, file in enumerate(files) if len(file.data) <= budget]
    if not fitting:
        return None
    sign = 1 if metric.higher_is_better else -1
    return max(fitting, key=lambda at: sign * scores[at])


@lru_cache(maxsize=1)
def _scorer(metrics: tuple[str, ...]) -> Scorer:
    # Once a process: the networks take longer to load than a photo to score.
    return Scorer(metrics)


def score_in_worker(photo: Photo, name: str, budgets: Sequence[int], metrics: tuple[str, ...]) -> list[Shot]:
    """Do the work of `score_classical` in a process of its own; everything in and out can be pickled."""
    return score_classical(photo, name, budgets, _scorer(metrics))
