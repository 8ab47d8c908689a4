"""Run a study: our codec in this process, the classical formats in one process a core."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from dataclasses import dataclass

from onedpiece.codec import Codec
from onedpiece.evaluation.batches import batches
from onedpiece.evaluation.classical import score_in_worker
from onedpiece.evaluation.formats import image_format
from onedpiece.evaluation.metrics import Scorer
from onedpiece.evaluation.ours import score_ours
from onedpiece.evaluation.photos import Photo, PhotoSet
from onedpiece.evaluation.study import OURS, Shot, Study
from onedpiece.evaluation.workers import start_executor

Progress = Callable[[int], None]
"""Called with how many pairs of a photo and a codec have just been finished."""


@dataclass(frozen=True)
class Plan:
    """What to compare.

    Raises:
        ValueError: a budget below one byte.
    """

    against: Sequence[str] = ("jpeg", "webp", "avif")
    budgets: Sequence[int] = (48, 96, 192, 384)
    workers: int | None = None  # processes for the classical formats; None: one a core

    def __post_init__(self) -> None:
        if not self.budgets or min(self.budgets) < 1:
            raise ValueError(f"budgets are {list(self.budgets)}; give at least one, each of at least 1 byte")
        object.__setattr__(self, "budgets", tuple(sorted(set(self.budgets))))
        object.__setattr__(self, "against", tuple(dict.fromkeys(self.against)))


def compare(
    photos: PhotoSet, codec: Codec, plan: Plan, scorer: Scorer, progress: Progress = lambda _: None
) -> Study:
    """Compare our codec with classical formats on photos.

    Args:
        photos: squares of the model's own side.
        codec: ours.
        plan: formats, budgets and workers.
        scorer: the metrics that could be loaded.
        progress: told of every photo × codec.

    Raises:
        ValueError: an unknown format, or no photo.
        MissingFormatError: a format's library is missing; checked before any work.
    """
    for name in plan.against:
        image_format(name)
    if not photos.photos:
        raise ValueError("none of the photos could be read")
    with _classical_jobs(photos.photos, plan, scorer) as jobs:
        shots: list[Shot] = []
        for batch in batches(photos.photos):
            shots += score_ours(codec, batch, plan.budgets, scorer)
            progress(len(batch))
        for job in as_completed(jobs):
            shots += job.result()
            progress(1)
    return Study(
        model=f"onedpiece {codec.name}",
        side=codec.tokenizer.config.image_size,
        photos=photos.photos,
        codecs=(OURS, *plan.against),
        budgets=plan.budgets,
        metrics=scorer.metrics,
        shots=shots,
        unreadable=photos.unreadable,
    )


@contextmanager
def _classical_jobs(
    photos: Sequence[Photo], plan: Plan, scorer: Scorer
) -> Iterator[list[Future[list[Shot]]]]:
    metrics = tuple(m.name for m in scorer.metrics)
    count = len(photos) * len(plan.against)
    with start_executor(count, plan.workers) as executor:
        try:
            yield [
                executor.submit(score_in_worker, photo, name, plan.budgets, metrics)
                for photo in photos
                for name in plan.against
            ]
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
