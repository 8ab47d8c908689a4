"""What a comparison found: points, means, Bjøntegaard deltas, and its tables, laid out once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, inf, isfinite, isinf
from statistics import fmean
from typing import NamedTuple

from onedpiece.errors import NoOverlapError, NotMonotoneError
from onedpiece.evaluation.external import PublishedCurve
from onedpiece.evaluation.photos import Photo, Unreadable
from onedpiece.metrics.bd_rate import bd_quality, bd_rate
from onedpiece.metrics.descriptors import Metric

OURS = "onedpiece"
FAITHFUL = "onedpiece-faithful"
"""The same files as OURS's, decoded faithfully; only of a model that has a sharp network."""

OWN = (OURS, FAITHFUL)

MIN_PHOTO_RATIO = 0.95
"""A format that fewer of the photos fit at all has no point: a mean over the easy ones would flatter it."""


class RDPoint(NamedTuple):
    """The best file of one photo by one codec within one budget, as one metric sees it.

    Attributes:
        photo: the photo's place in the list; names may come twice.
        codec: one of OWN or a classical format's name.
        budget: bytes allowed for the whole file.
        metric: the metric's name.
        score: its value.
        data: the whole file, at most `budget` bytes.
        setting: how it was made, for people.
        tokens: how many it holds; None for a classical format.
    """

    photo: int
    codec: str
    budget: int
    metric: str
    score: float
    data: bytes
    setting: str
    tokens: int | None = None


@dataclass(frozen=True)
class ComparisonResult:
    """Everything that a comparison found; a point that is not there did not fit its budget."""

    model: str  # what stands behind OURS
    side: int  # pixels; every picture was compared as a square of this side
    photos: Sequence[Photo]
    codecs: Sequence[str]  # OURS first
    budgets: Sequence[int]  # ascending
    metrics: Sequence[Metric]
    rd_points: Sequence[RDPoint]
    unreadable: Sequence[Unreadable] = field(default=())
    published: Mapping[str, PublishedCurve] = field(default_factory=dict)  # codecs that were not run here

    @property
    def measured(self) -> list[str]:
        """The codecs that were run here, of which there are files."""
        return [codec for codec in self.codecs if codec not in self.published]

    def title(self, codec: str) -> str:
        """Return what a codec is called before people."""
        if codec in self.published:
            return f"{codec} (published)"
        return {OURS: self.model, FAITHFUL: f"{self.model}, faithful"}.get(codec, codec)

    @cached_property
    def _by_key(self) -> dict[tuple[int, str, int, str], RDPoint]:
        return {(p.photo, p.codec, p.budget, p.metric): p for p in self.rd_points}

    def rd_point(self, photo: int, codec: str, budget: int, metric: str) -> RDPoint | None:
        """Return the point of the photo at place `photo`, or None where nothing fitted."""
        return self._by_key.get((photo, codec, budget, metric))

    def rd_points_of(self, codec: str, budget: int, metric: str) -> list[RDPoint]:
        """Return the points of all photos that fitted, in the photos' order."""
        found = (self.rd_point(at, codec, budget, metric) for at in range(len(self.photos)))
        return [point for point in found if point is not None]

    @property
    def display_metric(self) -> Metric:
        """The metric that chooses the pictures to look at: of those measured, the closest to eyes."""
        closest = ("lpips", "lpips-squeeze", "ms-ssim", "ssim", "psnr")
        return min(self.metrics, key=lambda m: closest.index(m.name))


class CurvePoint(NamedTuple):
    """One point of a curve.

    Attributes:
        budget: bytes allowed.
        bytes: mean size of the whole files.
        score: mean score of the photos that are not lossless; infinite where all are.
        photos: how many photos are behind it; 0 of a published curve, which does not say.
        tokens: mean token count; None for a classical format.
        lossless: how many of the photos have an infinite score, which has no mean with others.
    """

    budget: int
    bytes: float
    score: float
    photos: int
    tokens: float | None
    lossless: int = 0


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


def curve_point(result: ComparisonResult, codec: str, budget: int, metric: Metric) -> CurvePoint | None:
    """Return the mean over the photos, or None where fewer than MIN_PHOTO_RATIO of them fit.

    Of a published curve it is the largest of its points that fits.
    """
    if codec in result.published:
        fitting = [point for point in curve(result, codec, metric) if point.bytes <= budget]
        return fitting[-1]._replace(budget=budget) if fitting else None
    points = result.rd_points_of(codec, budget, metric.name)
    if not points or len(points) < MIN_PHOTO_RATIO * len(result.photos):
        return None
    tokens = [point.tokens for point in points if point.tokens is not None]
    scores = [point.score for point in points if isfinite(point.score)]
    return CurvePoint(
        budget,
        fmean(len(point.data) for point in points),
        fmean(scores) if scores else inf,
        len(points),
        fmean(tokens) if tokens else None,
        len(points) - len(scores),
    )


def curve(result: ComparisonResult, codec: str, metric: Metric) -> list[CurvePoint]:
    """Return the points of one codec that exist, by rising budget; all of a published curve's."""
    if codec in result.published:
        found = result.published[codec].points(metric, result.side)
        return [CurvePoint(ceil(size), size, score, 0, None) for size, score in found]
    points = (curve_point(result, codec, budget, metric) for budget in result.budgets)
    return [p for p in points if p is not None]


def deltas(result: ComparisonResult, metric: Metric) -> list[Delta]:
    """Return our BD-rate and BD-quality against every classical format of the result."""
    ours = curve(result, OURS, metric)
    return [
        _delta(name, metric, curve(result, name, metric), ours) for name in result.codecs if name not in OWN
    ]


def _delta(name: str, metric: Metric, anchor: Sequence[CurvePoint], ours: Sequence[CurvePoint]) -> Delta:
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


def _distinct(points: Sequence[CurvePoint]) -> list[CurvePoint]:
    """Drop lossless points, and those of budgets above a codec's largest file, which are all that file's."""
    finite = [point for point in points if isfinite(point.score)]
    return list({(p.bytes, p.score): p for p in reversed(finite)}.values())


def _or_reason(delta: Callable[..., float], curves: tuple[list[float], ...]) -> float | str:
    try:
        return delta(*curves)
    except NoOverlapError:
        return "no overlap"
    except NotMonotoneError:
        return "not monotone"
    except ValueError:
        return "too few points"


NONE = "\N{EN DASH}"
"""Stands where a codec has no point."""


class Cell(NamedTuple):
    """One number.

    Attributes:
        text: as it is shown.
        best: whether none of its column is better.
        detail: what stands small beside it.
    """

    text: str
    best: bool = False
    detail: str = ""


class TableRow(NamedTuple):
    """One codec's row."""

    name: str
    cells: Sequence[Cell]
    ours: bool = False


class Table(NamedTuple):
    """A table.

    Attributes:
        title: what is shown.
        note: how to read it.
        columns: titles of the columns behind the codec's name.
        rows: one a codec.
    """

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[TableRow]


def score_table(result: ComparisonResult, metric: Metric) -> Table:
    """Return a metric's mean scores: a row a codec, a column a budget in bytes."""
    points = {c: [curve_point(result, c, budget, metric) for budget in result.budgets] for c in result.codecs}
    best = [_best(column, metric) for column in zip(*points.values(), strict=True)]
    rows = [
        TableRow(
            result.title(codec),
            [_score_cell(point, top, metric) for point, top in zip(points[codec], best, strict=True)],
            codec in OWN,
        )
        for codec in result.codecs
    ]
    return Table(metric.axis_label, metric.direction, [f"{budget} B" for budget in result.budgets], rows)


def delta_table(result: ComparisonResult) -> Table | None:
    """Return our Bjøntegaard deltas: a row a classical format, a column a metric; None if there are none."""
    by_metric = [deltas(result, metric) for metric in result.metrics]
    if not by_metric[0] or len(result.budgets) < 2:
        return None
    rows = []
    for of_codec in zip(*by_metric, strict=True):
        cells = []
        for delta in of_codec:
            rate = delta.rate if isinstance(delta.rate, str) else f"{delta.rate:+.0f} %"
            quality = "" if isinstance(delta.quality, str) else f"{delta.quality:+.{delta.metric.digits}f}"
            cells.append(Cell(rate, detail=quality))
        rows.append(TableRow(result.title(of_codec[0].codec), cells))
    return Table(
        "Ours against each",
        "Bj\N{LATIN SMALL LETTER O WITH STROKE}ntegaard: bytes at equal score, then score at equal bytes",
        [metric.axis_label for metric in result.metrics],
        rows,
    )


def _best(column: Sequence[CurvePoint | None], metric: Metric) -> float | None:
    scores = [point.score for point in column if point is not None]
    if not scores:
        return None
    return max(scores) if metric.higher_is_better else min(scores)


def _score_cell(point: CurvePoint | None, best: float | None, metric: Metric) -> Cell:
    if point is None:
        return Cell(NONE)
    text = "lossless" if isinf(point.score) else f"{point.score:.{metric.digits}f}"
    # An infinite score has no mean with others: those photos are counted apart.
    apart = f"+ {point.lossless} lossless" if point.lossless and not isinf(point.score) else ""
    return Cell(text, point.score == best, apart)
