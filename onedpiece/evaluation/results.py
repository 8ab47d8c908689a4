"""A rate–distortion study: every photo, by every codec, at every byte budget, judged by every metric.

And what it boils down to: one point a codec, budget and metric, averaged over the photos.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import NamedTuple

from onedpiece.errors import NoOverlapError, NotMonotoneError
from onedpiece.evaluation.photos import Photo, Unreadable
from onedpiece.metrics.bd_rate import bd_quality, bd_rate
from onedpiece.metrics.registry import Metric

OURS = "onedpiece"


MIN_SHARE = 0.95
"""A format that fewer of the photos fit at all has no point: a mean over the easy ones would flatter it."""


class Shot(NamedTuple):
    """The best file of one photo by one codec within one budget, as one metric sees it.

    Attributes:
        photo: the photo's name.
        codec: OURS or a classical format's name.
        budget: bytes allowed for the whole file.
        metric: the metric's name.
        score: its value.
        data: the whole file, at most `budget` bytes.
        setting: how it was made, for people.
        tokens: how many it holds; None for a classical format.
    """

    photo: str
    codec: str
    budget: int
    metric: str
    score: float
    data: bytes
    setting: str
    tokens: int | None = None


@dataclass(frozen=True)
class Study:
    """Everything that a comparison found; a shot that is not there did not fit its budget."""

    model: str  # what stands behind OURS
    side: int  # pixels; every picture was compared as a square of this side
    photos: Sequence[Photo]
    codecs: Sequence[str]  # OURS first
    budgets: Sequence[int]  # ascending
    metrics: Sequence[Metric]
    shots: Sequence[Shot]
    unreadable: Sequence[Unreadable] = field(default=())

    @cached_property
    def _by_key(self) -> dict[tuple[str, str, int, str], Shot]:
        return {(s.photo, s.codec, s.budget, s.metric): s for s in self.shots}

    def shot(self, photo: str, codec: str, budget: int, metric: str) -> Shot | None:
        """Return the shot of one photo, or None where nothing fitted."""
        return self._by_key.get((photo, codec, budget, metric))

    def shots_of(self, codec: str, budget: int, metric: str) -> list[Shot]:
        """Return the shots of all photos that fitted, in the photos' order."""
        found = (self.shot(photo.name, codec, budget, metric) for photo in self.photos)
        return [shot for shot in found if shot is not None]

    @property
    def display_metric(self) -> Metric:
        """The metric that chooses the pictures to look at: of those measured, the closest to eyes."""
        closest = ("lpips", "lpips-squeeze", "ms-ssim", "ssim", "psnr")
        return min(self.metrics, key=lambda m: closest.index(m.name))


class Point(NamedTuple):
    """One point of a curve.

    Attributes:
        budget: bytes allowed.
        bytes: mean size of the whole files.
        score: mean score.
        photos: how many photos are behind it.
        tokens: mean token count; None for a classical format.
    """

    budget: int
    bytes: float
    score: float
    photos: int
    tokens: float | None


class Delta(NamedTuple):
    """Our curve against a classical one.

    Attributes:
        codec: the classical format.
        metric: what quality means.
        rate: BD-rate in per cent, negative when ours needs fewer bytes; or the reason why there is none.
        quality: BD-quality in the metric's unit, positive when the metric's value is higher; or the reason.
    """

    codec: str
    metric: Metric
    rate: float | str
    quality: float | str


def point(study: Study, codec: str, budget: int, metric: Metric) -> Point | None:
    """Return the mean over the photos, or None where fewer than MIN_SHARE of them fit."""
    shots = study.shots_of(codec, budget, metric.name)
    if not shots or len(shots) < MIN_SHARE * len(study.photos):
        return None
    tokens = [shot.tokens for shot in shots if shot.tokens is not None]
    return Point(
        budget,
        fmean(len(shot.data) for shot in shots),
        fmean(shot.score for shot in shots),
        len(shots),
        fmean(tokens) if tokens else None,
    )


def curve(study: Study, codec: str, metric: Metric) -> list[Point]:
    """Return the points of one codec that exist, by rising budget."""
    points = (point(study, codec, budget, metric) for budget in study.budgets)
    return [p for p in points if p is not None]


def deltas(study: Study, metric: Metric) -> list[Delta]:
    """Return our BD-rate and BD-quality against every classical format of the study."""
    ours = curve(study, OURS, metric)
    return [_delta(name, metric, curve(study, name, metric), ours) for name in study.codecs if name != OURS]


def _delta(name: str, metric: Metric, anchor: Sequence[Point], ours: Sequence[Point]) -> Delta:
    sign = 1 if metric.higher_is_better else -1
    anchor, ours = _distinct(anchor), _distinct(ours)
    curves = (
        [p.bytes for p in anchor],
        [sign * p.score for p in anchor],
        [p.bytes for p in ours],
        [sign * p.score for p in ours],
    )
    rate, quality = _or_reason(bd_rate, curves), _or_reason(bd_quality, curves)
    return Delta(name, metric, rate, sign * quality if isinstance(quality, float) else quality)


def _distinct(points: Sequence[Point]) -> list[Point]:
    """Drop the points of budgets above a codec's largest file, which are all that file's."""
    return list({(p.bytes, p.score): p for p in reversed(points)}.values())


def _or_reason(delta: Callable[..., float], curves: tuple[list[float], ...]) -> float | str:
    try:
        return delta(*curves)
    except NoOverlapError:
        return "no overlap"
    except NotMonotoneError:
        return "not monotone"
    except ValueError:
        return "too few points"
