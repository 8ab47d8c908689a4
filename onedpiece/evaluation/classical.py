"""Classical formats in a comparison: the best file within each budget, chosen anew for each metric."""

from collections.abc import Sequence
from functools import lru_cache

from onedpiece.evaluation.best_shot import Candidate, candidates, restore
from onedpiece.evaluation.formats import image_format
from onedpiece.evaluation.metrics import Metric, Scorer
from onedpiece.evaluation.photos import Photo, to_tensor
from onedpiece.evaluation.study import Shot


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
