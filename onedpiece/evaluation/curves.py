"""Rate-distortion curves as pictures: ours solid, classical formats dashed, bytes on a log scale."""

import io
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from onedpiece.evaluation.metrics import Metric
from onedpiece.evaluation.study import OURS, Study
from onedpiece.evaluation.summary import curve

COLOURS = {
    OURS: "#0072b2",
    "jpeg": "#d55e00",
    "webp": "#009e73",
    "avif": "#cc79a7",
    "jxl": "#e69f00",
    "jpeg2000": "#7f7f7f",
    "blurhash": "#56b4e9",
    "thumbhash": "#8c564b",
}
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""

MARKERS = dict(zip(COLOURS, "osD^vPX*", strict=True))


def rd_png(study: Study) -> bytes:
    """Return all panels, one a metric, as a PNG."""
    columns = min(len(study.metrics), 2)
    rows = -(-len(study.metrics) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, metric in zip(panels, study.metrics, strict=False):
        draw(panel, study, metric)
    for unused in panels[len(study.metrics) :]:
        unused.remove()
    title = f"{study.model}: {len(study.photos)} photos at {study.side}x{study.side}, whole-file bytes"
    figure.suptitle(title, fontsize=11)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def panel_svg(study: Study, metric: Metric) -> str:
    """Return one panel as an <svg> element, for a page."""
    figure = Figure(figsize=(4.6, 3.5), layout="constrained")
    FigureCanvasSVG(figure)
    draw(figure.subplots(), study, metric)
    file = io.StringIO()
    # The fixed salt of its ids and the missing date make equal studies equal files.
    with rc_context({"svg.hashsalt": metric.name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    return text[text.index("<svg") :]


def draw(axes: Axes, study: Study, metric: Metric) -> None:
    """Draw one metric's curves into `axes`; a codec with no point at all is named in the legend as such."""
    for codec in study.codecs:
        points = curve(study, codec, metric)
        ours = codec == OURS
        axes.plot(
            [p.bytes for p in points],
            [p.score for p in points],
            color=COLOURS[codec],
            marker=MARKERS[codec],
            markersize=6 if ours else 5,
            linewidth=2.4 if ours else 1.4,
            linestyle="-" if ours else "--",
            label=(study.model if ours else codec) + ("" if points else " (does not fit)"),
            zorder=3 if ours else 2,
        )
    _label(axes, study.budgets, metric)


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
    axes.set_ylabel(f"{metric.label}  ({'higher' if metric.higher_is_better else 'lower'} is better)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
