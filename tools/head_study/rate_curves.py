"""Scores over bytes: as CSV, as a picture of one panel a task, and as a Markdown table."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from matplotlib.figure import Figure

from onedpiece._files import atomic_path, atomic_write_text
from onedpiece.heads import Task
from tools import markdown

Reads = Literal["tokens", "webp"]

TITLES: dict[Task, str] = {
    "classify": "Imagenette, top-1 % ↑",
    "segment": "CamVid, mIoU % ↑",
    "detect": "Penn-Fudan, AP50 % ↑",
    "depth": "rendered scenes, AbsRel % ↓",
}
NAMES: dict[Reads, str] = {"tokens": "head on our tokens", "webp": "same network on WebP"}
COLOURS: dict[Reads, str] = {"tokens": "tab:blue", "webp": "tab:orange"}
FITS = 0.9
"""Share of the photos that must fit a format's files, or there is no point."""

_NONE = "\N{EN DASH}"


class Point(NamedTuple):
    """One number.

    Attributes:
        task: what is predicted.
        reads: what the network reads.
        tokens: of our files, whose bytes the others are allowed.
        bytes: mean size of the files.
        fit: share of the photos that have a file of so many bytes, in [0, 1]; the rest is shown as grey.
        score: in [0, 1]; of depth, less is better.
        photos: that were tested.
        minutes: of processor time that the network was trained for; 0: not known.
        steps: likewise.
    """

    task: Task
    reads: Reads
    tokens: int
    bytes: float
    fit: float
    score: float
    photos: int
    minutes: float
    steps: int


def write_points(path: Path, points: Sequence[Point]) -> None:
    """Write a line a point, whole or not at all."""
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Point._fields)
        writer.writerows(points)


def read_points(path: Path) -> list[Point]:
    """Read such a file."""
    with path.open(encoding="utf-8", newline="") as file:
        return [_point(row) for row in csv.DictReader(file)]


def _point(row: dict[str, str]) -> Point:
    (task,) = [name for name in get_args(Task) if name == row["task"]]
    (reads,) = [name for name in get_args(Reads) if name == row["reads"]]
    size, fit, score, minutes = (float(row[name]) for name in ("bytes", "fit", "score", "minutes"))
    photos, steps = int(row["photos"]), int(row["steps"])
    return Point(task, reads, int(row["tokens"]), size, fit, score, photos, minutes, steps)


def curve(points: Sequence[Point], task: Task, reads: Reads) -> list[Point]:
    """Return the points of one curve that have enough files, by bytes."""
    mine = [point for point in points if (point.task, point.reads) == (task, reads) and point.fit >= FITS]
    return sorted(mine, key=lambda point: point.bytes)


def draw(points: Sequence[Point], path: Path) -> None:
    """Draw the curves, one panel for each task that there is, as PNG."""
    tasks = [task for task in TITLES if any(point.task == task for point in points)]
    figure = Figure(figsize=(3.6 * len(tasks), 3.2), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        for reads, name in NAMES.items():
            line = curve(points, task, reads)
            values = [100 * point.score for point in line]
            axes.plot([point.bytes for point in line], values, "o-", color=COLOURS[reads], label=name)
        axes.set(title=TITLES[task], xlabel="bytes a photo", xscale="log")
        axes.set_xticks([20, 50, 100, 200, 400], ["20", "50", "100", "200", "400"], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def table(points: Sequence[Point]) -> str:
    """Return the numbers as a Markdown table: for each task bytes, the head on tokens, and WebP."""
    counts = sorted({point.tokens for point in points})
    lines = []
    for task, title in TITLES.items():
        sizes = {point.tokens: point for point in curve(points, task, "tokens")}
        if sizes:
            lines.append([title, "bytes", *(_cell(sizes, count, "bytes") for count in counts)])
        for reads, name in NAMES.items():
            scores = {point.tokens: point for point in curve(points, task, reads)}
            if scores:
                lines.append(["", name, *(_cell(scores, count, "score") for count in counts)])
    return markdown.table(["", "", *(f"{count} tokens" for count in counts)], lines, left=2)


def _cell(points: dict[int, Point], count: int, field: Literal["bytes", "score"]) -> str:
    if count not in points:
        return _NONE
    return f"{points[count].bytes:.0f}" if field == "bytes" else f"{100 * points[count].score:.1f}"


def trainings(points: Sequence[Point]) -> list[str]:
    """Say for each task how long its networks were trained."""
    lines = []
    for task, title in TITLES.items():
        firsts = {reads: found[0] for reads in NAMES if (found := curve(points, task, reads))}
        parts = [f"{NAMES[reads]} {p.minutes:g} minutes, {p.steps:,} steps" for reads, p in firsts.items()]
        lines += [f"{title.split(',')[0]}: {', '.join(parts)}"] if parts else []
    return lines


def report(points: Sequence[Point], folder: Path, readme: Path) -> None:
    """Write rate_curves.csv and rate_curves.png to a folder, and picture and table into a README there."""
    write_points(folder / "rate_curves.csv", points)
    draw(points, folder / "rate_curves.png")
    text = "\n\n".join(
        [
            "![Score over bytes for each task: our tokens, and WebP](rate_curves.png)",
            table(points),
            "\n".join(f"- {line}" for line in trainings(points)),
        ]
    )
    if not readme.exists():
        atomic_write_text(readme, "<!-- begin: rate_curves -->\n<!-- end: rate_curves -->\n")
    markdown.replace_part(readme, "rate_curves", text)
