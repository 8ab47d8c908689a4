"""Run a study: our codec in this process, the classical formats in one process a core.

Of our codec, the most tokens whose whole file fits a budget; of any, from its file back to the picture that
was scored.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.codec.tensors import to_tensor
from onedpiece.evaluation.baselines import restore, score_in_worker
from onedpiece.evaluation.formats import image_format
from onedpiece.evaluation.photos import Photo, PhotoSet, batches
from onedpiece.evaluation.results import OURS, Shot, Study
from onedpiece.evaluation.workers import start_executor
from onedpiece.metrics.registry import Scorer

Progress = Callable[[int], None]
"""Called with how many pairs of a photo and a codec have just been finished."""


Reconstruct = Callable[[Shot], Image.Image]
"""A shot's picture, RGB, at the size at which the study compared."""


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


def score_ours(codec: Codec, photos: Sequence[Photo], budgets: Sequence[int], scorer: Scorer) -> list[Shot]:
    """Return our shots of a batch of photos; a budget that not even one token fits has none."""
    codes = [each.code for each in codec.encode_batch([photo.image for photo in photos])]
    shots: list[Shot] = []
    for budget in budgets:
        cut = [(photo, _fit(code, budget)) for photo, code in zip(photos, codes, strict=True)]
        fitting = [(photo, code) for photo, code in cut if code is not None]
        if fitting:
            shots += _score(codec, fitting, budget, scorer)
    return shots


def _fit(code: Code, budget: int) -> Code | None:
    try:
        return code.fit(budget)
    except ValueError:
        return None


def _score(codec: Codec, pairs: Sequence[tuple[Photo, Code]], budget: int, scorer: Scorer) -> list[Shot]:
    references = to_tensor([photo.image for photo, _ in pairs])
    images = to_tensor(codec.decode_batch([code for _, code in pairs]))
    return [
        Shot(photo.name, OURS, budget, metric.name, score, code.to_bytes(), f"{len(code)} tokens", len(code))
        for metric in scorer.metrics
        for (photo, code), score in zip(pairs, scorer.score(metric.name, references, images), strict=True)
    ]


def reconstructor(codec: Codec, side: int) -> Reconstruct:
    """Return a function that draws any shot of a study made with `codec` on squares of `side` pixels."""

    def reconstruct(shot: Shot) -> Image.Image:
        if shot.codec == OURS:
            return codec.decode(shot.data)
        return restore(image_format(shot.codec), shot.data, (side, side))

    return reconstruct
