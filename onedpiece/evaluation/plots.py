"""A result as pictures: rate-distortion curves, and contact sheets.

Curves are ours solid, classical formats dashed, bytes on a log scale; a sheet has pictures in rows, each with
two lines of text, a row a budget.
"""

import io
from collections.abc import Sequence
from itertools import cycle
from math import isfinite
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator
from PIL import Image, ImageDraw, ImageFont

from onedpiece.evaluation.comparison import Reconstruct
from onedpiece.evaluation.results import FAITHFUL, OURS, OWN, ComparisonResult, RDPoint, curve
from onedpiece.metrics.descriptors import Metric

COLOURS = {
    OURS: "#0072b2",
    FAITHFUL: "#6baed6",
    "jpeg": "#d55e00",
    "webp": "#009e73",
    "avif": "#cc79a7",
    "jxl": "#e69f00",
    "jpeg2000": "#7f7f7f",
    "blurhash": "#56b4e9",
    "thumbhash": "#8c564b",
}
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""

MARKERS = dict(zip(COLOURS, "ohsD^vPX*", strict=True))

MORE_COLOURS = ("#000000", "#b15928", "#6a3d9a", "#117733", "#882255", "#999933")
MORE_MARKERS = "<>pd8H"
"""Of other people's codecs, in the order that they were named."""


_GAP = 8
_CAPTION = 38  # two lines of text
_INK, _FAINT, _PAPER = "#1a1a1a", "#666666", "#ffffff"


Cell = tuple[Image.Image, Sequence[str]]
"""A square picture, and the two lines below it."""


def rd_png(result: ComparisonResult) -> bytes:
    """Return all panels, one a metric, as a PNG."""
    columns = min(len(result.metrics), 2)
    rows = -(-len(result.metrics) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, metric in zip(panels, result.metrics, strict=False):
        draw(panel, result, metric)
    for unused in panels[len(result.metrics) :]:
        unused.remove()
    title = f"{result.model}: {len(result.photos)} photos at {result.side}x{result.side}, whole-file bytes"
    figure.suptitle(title, fontsize=11)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def panel_svg(result: ComparisonResult, metric: Metric) -> str:
    """Return one panel as an <svg> element, for a page."""
    figure = Figure(figsize=(4.6, 3.5), layout="constrained")
    FigureCanvasSVG(figure)
    draw(figure.subplots(), result, metric)
    file = io.StringIO()
    # The fixed salt of its ids and the missing date make equal studies equal files.
    with rc_context({"svg.hashsalt": metric.name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    return text[text.index("<svg") :]


class Style(NamedTuple):
    """How a codec's line looks."""

    colour: str
    marker: str


def styles_of(result: ComparisonResult) -> dict[str, Style]:
    """Return every codec's style; more than six of other people's share theirs."""
    others = [codec for codec in result.codecs if codec not in COLOURS]
    more = [Style(*pair) for pair in zip(MORE_COLOURS, MORE_MARKERS, strict=True)]
    known = {codec: Style(COLOURS[codec], MARKERS[codec]) for codec in result.codecs if codec in COLOURS}
    return known | dict(zip(others, cycle(more), strict=False))


def draw(axes: Axes, result: ComparisonResult, metric: Metric) -> None:
    """Draw one metric's curves into `axes`; a codec with no point at all is named in the legend as such."""
    styles = styles_of(result)
    for codec in result.codecs:
        points = [p for p in curve(result, codec, metric) if isfinite(p.score)]
        ours = codec in OWN
        axes.plot(
            [p.bytes for p in points],
            [p.score for p in points],
            color=styles[codec].colour,
            marker=styles[codec].marker,
            markersize=6 if ours else 5,
            linewidth=2.4 if ours else 1.4,
            linestyle="-" if ours else "--",
            label=result.title(codec) + ("" if points else " (does not fit)"),
            zorder=3 if ours else 2,
        )
    _label(axes, result.budgets, metric)


def _label(axes: Axes, budgets: Sequence[int], metric: Metric) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(budgets)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(list(budgets), [str(budget) for budget in budgets])
    # A format with one size of file may lie left of every budget.
    lowest, highest = axes.dataLim.intervalx if axes.has_data() else (min(budgets), max(budgets))
    axes.set_xlim(min(lowest, *budgets) / 1.25, max(highest, *budgets) * 1.25)
    axes.set_xlabel("bytes, whole file")
    axes.set_ylabel(f"{metric.axis_label}  ({metric.direction})")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def sheet(rows: Sequence[Sequence[Cell]], side: int) -> Image.Image:
    """Draw rows of pictures of `side` pixels; the first row is as long as any."""
    width, height = side + _GAP, side + _CAPTION + _GAP
    drawn = Image.new("RGB", (width * len(rows[0]) + _GAP, height * len(rows) + _GAP), _PAPER)
    for down, row in enumerate(rows):
        for across, (picture, lines) in enumerate(row):
            at = (_GAP + across * width, _GAP + down * height)
            drawn.paste(picture, at)
            _write(drawn, (at[0], at[1] + side + 2), lines)
    return drawn


def contact_sheet(result: ComparisonResult, photo: int, reconstruct: Reconstruct) -> Image.Image:
    """Draw one photo's sheet: columns are the original, ours and the classical formats.

    Args:
        result: what was compared.
        photo: the place of one of its photos.
        reconstruct: draws a point's file again.
    """
    return sheet([_row(result, photo, budget, reconstruct) for budget in result.budgets], result.side)


def _row(result: ComparisonResult, at: int, budget: int, reconstruct: Reconstruct) -> list[Cell]:
    photo = result.photos[at]
    cells: list[Cell] = [(photo.image, (photo.name, f"original, {result.side}x{result.side}"))]
    for codec in result.measured:
        name = result.title(codec)
        point = result.rd_point(at, codec, budget, result.display_metric.name)
        if point is None:
            cells.append((no_picture(result.side), (name, f"does not fit {budget} bytes")))
        else:
            cells.append((reconstruct(point), (name, caption(result, point))))
    return cells


def caption(result: ComparisonResult, point: RDPoint) -> str:
    """Return a point's size and score in a few words."""
    metric = result.display_metric
    score = f"{point.score:.{metric.digits}f}" if isfinite(point.score) else "lossless"
    tokens = "" if point.tokens is None else f" ({point.tokens} tokens)"
    return f"{len(point.data)} bytes{tokens}, {metric.axis_label} {score}"


def no_picture(side: int) -> Image.Image:
    """Return what stands where a codec has nothing to show."""
    blank = Image.new("RGB", (side, side), "#f2f2f2")
    ImageDraw.Draw(blank).line((side // 2 - 12, side // 2, side // 2 + 12, side // 2), fill=_FAINT, width=3)
    return blank


def _write(on: Image.Image, at: tuple[int, int], lines: Sequence[str]) -> None:
    draw = ImageDraw.Draw(on)
    for number, line in enumerate(lines):
        font = ImageFont.load_default(14 if number == 0 else 12)
        draw.text((at[0], at[1] + 18 * number), line, font=font, fill=_INK if number == 0 else _FAINT)
