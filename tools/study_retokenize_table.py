"""The results of study_retokenize.py: two CSV files, and the Markdown table made of them.

`accuracy.csv` has a row a network and seed (label, seed, kept, free, top1), `speed.csv` one a network (label,
gflops, rate, ratio, batch, threads); shares are in [0, 1], `free` is empty where a network had to be trained.
"""

import csv
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def table(out: Path, references: Mapping[str, str]) -> str:
    """Return what was measured as a Markdown table.

    Args:
        out: folder of the two files.
        references: the labels to show, and beside which label each one's accuracy is set, seed by seed. A
            difference is bold where it is larger than twice its own standard deviation over the seeds.
    """
    speeds = {row["label"]: row for row in read(out / "speed.csv")}
    rows = read(out / "accuracy.csv")
    heads = "tokens kept, mean | GFLOPs | images/s | speed-up | top-1 % | beside its base | training-free %"
    lines = [f"| | {heads} | seeds |", "|---|" + 8 * "---:|"]
    for label, reference in references.items():
        own, base = ([row for row in rows if row["label"] == each] for each in (label, reference))
        if own:
            difference = "" if label == reference else _difference(own, base)
            lines.append(f"| {label} | {_accuracy_cells(own, speeds.get(label), difference)} |")
    if "base, slices" in speeds:
        lines.append(f"| base, slices | 1.00 | {_speed_cells(speeds['base, slices'])} | as base | | | |")
    return "\n".join(lines)


def conditions(out: Path) -> str:
    """Say what the speeds were measured with."""
    said = {f"batch {row['batch']}, {row['threads']} CPU threads" for row in read(out / "speed.csv")}
    return (
        f"Speed: {'; '.join(sorted(said)) or 'not measured'}, process time, in turns, float32, "
        f"torch {torch.__version__}."
    )


def _difference(rows: list[dict[str, str]], base: list[dict[str, str]]) -> str:
    """The mean of top-1's differences over the seeds that both have, in points, and their deviation."""
    known = {row["seed"]: float(row["top1"]) for row in base}
    points = [100 * (float(row["top1"]) - known[row["seed"]]) for row in rows if row["seed"] in known]
    if len(points) < 2:
        return "–"
    mean, deviation = statistics.fmean(points), statistics.stdev(points)
    text = f"{mean:+.1f} ± {deviation:.1f}"
    return f"**{text}**" if abs(mean) > 2 * deviation else text


def _accuracy_cells(rows: list[dict[str, str]], speed_row: dict[str, str] | None, difference: str) -> str:
    kept = statistics.fmean(float(row["kept"]) for row in rows)
    free, top1 = (_spread([float(row[key]) for row in rows if row[key]]) for key in ("free", "top1"))
    return f"{kept:.2f} | {_speed_cells(speed_row)} | {top1} | {difference} | {free} | {len(rows)}"


def _speed_cells(row: dict[str, str] | None) -> str:
    if row is None:
        return "– | – | –"
    return f"{float(row['gflops']):.2f} | {float(row['rate']):.0f} | {float(row['ratio']):.2f}"


def _spread(shares: list[float]) -> str:
    if not shares:
        return "–"
    deviation = statistics.stdev(shares) if len(shares) > 1 else 0.0
    return f"{100 * statistics.fmean(shares):.1f} ± {100 * deviation:.1f}"


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, none where it is not there."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def append(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a CSV file, with a head where it is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.is_file()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
