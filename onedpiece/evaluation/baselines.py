"""Baseline search: the best file of a classical format within each budget, chosen anew for each metric."""

import ctypes
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import suppress
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from PIL import Image

from onedpiece.codec.tensors import to_tensor
from onedpiece.errors import ExternalCodecError
from onedpiece.evaluation.external import PublishedCurve, contender
from onedpiece.evaluation.formats import FORMATS, Format, image_format
from onedpiece.evaluation.photos import Photo
from onedpiece.evaluation.results import RDPoint
from onedpiece.metrics.descriptors import Metric
from onedpiece.metrics.registry import Scorer

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h

WORTH_A_POOL = 8
"""Fewer jobs than these are done sooner here: a new process spends ten seconds on importing torch."""


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def start_executor(jobs: int, workers: int | None = None) -> Executor:
    """Return what runs so many jobs: this process, or a pool of single-threaded ones.

    Args:
        jobs: how many there will be, each of about a second.
        workers: processes; 1 is this one. None: as many as cores, where the jobs are worth starting them.
    """
    count = min(jobs, workers or (usable_cores() if jobs >= WORTH_A_POOL else 1))
    if count <= 1:
        return _ThisProcess()
    # A forked child would inherit torch's thread pools in whatever state they are in.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    torch.set_num_threads(1)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Tell glibc, where there is one, to keep large blocks for the next metric.

    It would give them back to the system every time, and taking them anew cost half of the time of SSIM.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for option, value in ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, (1 << 31) - 1)):
            libc.mallopt(option, value)


class _ThisProcess(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


SCALES = tuple(
    side / 256 for side in (1, 2, 4, 8, 12, 16, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 256)
)
"""Sides to try, as ratios to the photo's; multiples of WebP's 16-pixel blocks among them on purpose."""

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
    for scale in SCALES if fmt.scales else (1.0,):
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        small = image if scale == 1 else image.resize(size, Image.Resampling.LANCZOS)
        try:
            fitting = _highest_that_fit(fmt, small, budgets)
        except ExternalCodecError:
            if scale == 1:
                raise
            continue  # some take no small pictures
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


def find_contender(spec: str) -> Format | PublishedCurve:
    """Return what a word of `--against` means: one of `FORMATS`, or what `external.contender` knows.

    Raises:
        ValueError, MissingFormatError, ExternalCodecError: as `image_format` and `external.contender`.
    """
    return image_format(spec) if spec in FORMATS else contender(spec)


def format_of(spec: str) -> Format:
    """Return the codec that a word of `--against` means.

    Raises:
        ValueError: it is a curve, which encodes nothing; or as `find_contender`.
    """
    found = find_contender(spec)
    if isinstance(found, PublishedCurve):
        raise ValueError(f"{spec} is a curve; it encodes nothing")
    return found


def score_baseline(at: int, photo: Photo, name: str, budgets: Sequence[int], scorer: Scorer) -> list[RDPoint]:
    """Return the points of one photo by the format `name`; a budget that nothing fits has none.

    Args:
        at: the photo's place in the list, by which results are found again.
        photo: RGB, any size.
        name: one of `FORMATS`, or what else `format_of` knows.
        budgets: whole-file bytes.
        scorer: the metrics, for each of which a file is chosen.

    Raises:
        MissingFormatError: the format's library is missing.
    """
    fmt = format_of(name)
    files = candidates(photo.image, fmt, budgets)
    if not files:
        return []
    images = to_tensor([restore(fmt, file.data, photo.image.size) for file in files])
    reference = to_tensor([photo.image])
    points: list[RDPoint] = []
    for metric in scorer.metrics:
        scores = scorer.score(metric.name, reference, images)
        for budget in budgets:
            best = _best(files, scores, budget, metric)
            if best is not None:
                file = files[best]
                points.append(
                    RDPoint(at, fmt.name, budget, metric.name, scores[best], file.data, file.setting)
                )
    return points


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


def score_in_worker(
    at: int, photo: Photo, name: str, budgets: Sequence[int], metrics: tuple[str, ...]
) -> list[RDPoint]:
    """Do the work of `score_baseline` in a process of its own; everything in and out can be pickled."""
    return score_baseline(at, photo, name, budgets, _scorer(metrics))
