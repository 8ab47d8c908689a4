"""Run a comparison: our codec in this process, the classical formats in one process a core.

Of our codec, the most tokens whose whole file fits a budget; of any, from its file back to the picture that
was scored.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from PIL import Image

from onedpiece._progress import Progress, no_progress
from onedpiece.bitstream import Code
from onedpiece.codec.codec import Codec
from onedpiece.codec.tensors import to_tensor
from onedpiece.evaluation.baselines import find_contender, format_of, restore, score_in_worker, start_executor
from onedpiece.evaluation.external import PublishedCurve
from onedpiece.evaluation.photos import BATCH, Photo, PhotoSet, batches
from onedpiece.evaluation.results import FAITHFUL, OURS, OWN, ComparisonResult, RDPoint
from onedpiece.metrics.registry import Scorer

Placed = tuple[int, Photo]
"""A photo, behind its place in the list."""

Reconstruct = Callable[[RDPoint], Image.Image]
"""A point's picture, RGB, at the size at which the result compared."""


@dataclass(frozen=True)
class ComparisonConfig:
    """What to compare.

    Raises:
        ValueError: a budget below one byte, or an empty batch.
    """

    against: Sequence[str] = ("jpeg", "webp", "avif")
    budgets: Sequence[int] = (48, 96, 192, 384)
    workers: int | None = None  # processes for the classical formats; None: one a core
    batch_size: int = BATCH  # photos that our network takes at once

    def __post_init__(self) -> None:
        if not self.budgets or min(self.budgets) < 1:
            raise ValueError(f"budgets are {list(self.budgets)}; give at least one, each of at least 1 byte")
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; give at least 1")
        object.__setattr__(self, "budgets", tuple(sorted(set(self.budgets))))
        object.__setattr__(self, "against", tuple(dict.fromkeys(self.against)))


def compare(
    photos: PhotoSet,
    codec: Codec,
    config: ComparisonConfig,
    scorer: Scorer,
    progress: Progress = no_progress,
) -> ComparisonResult:
    """Compare our codec with classical formats on photos.

    Args:
        photos: squares of the model's own side.
        codec: ours.
        config: formats, budgets and workers.
        scorer: the metrics that could be loaded.
        progress: told of photos × codecs.

    Raises:
        ValueError: an unknown format, or no photo.
        MissingFormatError: a format's library is missing; checked before any work.
    """
    against = contenders(config.against)
    if not photos.photos:
        raise ValueError("none of the photos could be read")
    with _baseline_jobs(photos.photos, against, config, scorer) as jobs:
        points: list[RDPoint] = []
        done, total = 0, len(photos.photos) + len(jobs)
        for batch in batches(list(enumerate(photos.photos)), config.batch_size):
            points += score_codec(codec, batch, config.budgets, scorer)
            progress(done := done + len(batch), total)
        for job in as_completed(jobs):
            points += job.result()
            progress(done := done + 1, total)
    return ComparisonResult(
        model=f"onedpiece {codec.name}",
        side=codec.tokenizer.config.image_size,
        photos=photos.photos,
        codecs=(*_looks(codec), *against.names),
        budgets=config.budgets,
        metrics=scorer.metrics,
        rd_points=points,
        unreadable=photos.unreadable,
        published=against.curves,
    )


class Contenders(NamedTuple):
    """What we are compared with.

    Attributes:
        names: of all of them, in the order that they were named.
        specs: of those that encode: how `baselines.format_of` is asked for them.
        curves: those that somebody measured, by name.
    """

    names: tuple[str, ...]
    specs: tuple[str, ...]
    curves: dict[str, PublishedCurve]


def contenders(against: Sequence[str]) -> Contenders:
    """Find all that the words of `--against` mean, before any work.

    Raises:
        ValueError: one means nothing, or two have one name.
        MissingFormatError, ExternalCodecError: one cannot be had here.
    """
    found = {spec: find_contender(spec) for spec in against}
    names = [each.name for each in found.values()]
    twice = sorted({name for name in names if names.count(name) > 1 or name in OWN})
    if twice:
        raise ValueError(f"two codecs are called {', '.join(twice)}; put NAME= in front of one")
    curves = {each.name: each for each in found.values() if isinstance(each, PublishedCurve)}
    specs = tuple(spec for spec, each in found.items() if not isinstance(each, PublishedCurve))
    return Contenders(tuple(names), specs, curves)


@contextmanager
def _baseline_jobs(
    photos: Sequence[Photo], against: Contenders, config: ComparisonConfig, scorer: Scorer
) -> Iterator[list[Future[list[RDPoint]]]]:
    metrics = tuple(m.name for m in scorer.metrics)
    count = len(photos) * len(against.specs)
    with start_executor(count, config.workers) as executor:
        try:
            yield [
                executor.submit(score_in_worker, at, photo, spec, config.budgets, metrics)
                for at, photo in enumerate(photos)
                for spec in against.specs
            ]
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def score_codec(
    codec: Codec, photos: Sequence[Placed], budgets: Sequence[int], scorer: Scorer
) -> list[RDPoint]:
    """Return our points of a batch of photos, of each look; a budget that no token fits has none."""
    codes = codec.encode_batch([photo.image for _, photo in photos])
    points: list[RDPoint] = []
    for budget in budgets:
        cut = [(placed, _fit(code, budget)) for placed, code in zip(photos, codes, strict=True)]
        fitting = [(placed, code) for placed, code in cut if code is not None]
        for look in _looks(codec) if fitting else ():
            shown = [(placed, replace(code, faithful=look == FAITHFUL)) for placed, code in fitting]
            points += _score(codec, look, shown, budget, scorer)
    return points


def _looks(codec: Codec) -> tuple[str, ...]:
    return (OURS,) if codec.tokenizer.sharp is None else OWN


def _fit(code: Code, budget: int) -> Code | None:
    try:
        return code.fit(budget)
    except ValueError:
        return None


def _score(
    codec: Codec, look: str, pairs: Sequence[tuple[Placed, Code]], budget: int, scorer: Scorer
) -> list[RDPoint]:
    references = to_tensor([photo.image for (_, photo), _ in pairs])
    images = to_tensor(codec.decode_batch([code for _, code in pairs]))
    return [
        RDPoint(at, look, budget, metric.name, score, code.to_bytes(), f"{len(code)} tokens", len(code))
        for metric in scorer.metrics
        for ((at, _), code), score in zip(pairs, scorer.score(metric.name, references, images), strict=True)
    ]


def reconstructor(codec: Codec, side: int, against: Sequence[str] = ()) -> Reconstruct:
    """Return a function that draws any point of a result.

    Args:
        codec: what the result was made with.
        side: of its squares, in pixels.
        against: the words of `ComparisonConfig.against` that are no built-in format.
    """
    external = {format_of(spec).name: spec for spec in contenders(against).specs}

    def reconstruct(point: RDPoint) -> Image.Image:
        if point.codec in OWN:
            return codec.decode(point.data)
        return restore(format_of(external.get(point.codec, point.codec)), point.data, (side, side))

    return reconstruct
