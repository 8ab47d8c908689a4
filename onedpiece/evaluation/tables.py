"""The tables of a comparison, laid out once for the terminal and for the page."""

from collections.abc import Sequence
from math import isinf
from typing import NamedTuple

from onedpiece.evaluation.results import OWN, ComparisonResult, CurvePoint, curve_point, deltas
from onedpiece.metrics.descriptors import Metric

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
        rows.append(TableRow(of_codec[0].codec, cells))
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
