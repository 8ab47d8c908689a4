"""The study's numbers on disk, as CSV, and as a table for people."""

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from statistics import fmean, stdev

from tools.head_study.coded import COUNTS
from tools.head_study.inputs import INPUTS, Input
from tools.head_study.run import Cell

NAMES: dict[Input, str] = {
    "codes": "head on our tokens",
    "webp": "ViT on WebP pixels",
    "ours": "ViT on our pixels",
}
_NONE = "\N{EN DASH}"
_ENOUGH = 0.9  # of the photos must fit a format's files, or its cell is left out


def write_cells(path: Path, cells: Sequence[Cell]) -> None:
    """Write one training's numbers, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps([cell._asdict() for cell in cells], indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def read_cells(folder: Path) -> list[Cell]:
    """Return the numbers of all trainings in a folder."""
    files = sorted(folder.glob("*.json"))
    return [Cell(**cell) for path in files for cell in json.loads(path.read_text(encoding="utf-8"))]


def to_csv(cells: Sequence[Cell]) -> str:
    """Return a line a number."""
    file = StringIO()
    writer = csv.DictWriter(file, Cell._fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(cell._asdict() for cell in cells)
    return file.getvalue()


def to_markdown(cells: Sequence[Cell]) -> str:
    """Return a table: a row an input, a column a token count; percent, mean ± standard deviation of seeds."""
    counts = [count for count in COUNTS if any(cell.tokens == count for cell in cells)]
    sizes = [fmean(c.bytes for c in cells if c.input == "codes" and c.tokens == count) for count in counts]
    heads = [f"{count} ({size:.0f} B)" for count, size in zip(counts, sizes, strict=True)]
    lines = ["| top-1 % | steps | " + " | ".join(heads) + " |", "|---|---:|" + "---:|" * len(counts)]
    for name in INPUTS:
        mine = [cell for cell in cells if cell.input == name]
        if mine:
            steps = fmean(cell.steps for cell in mine)
            row = [_cell([cell for cell in mine if cell.tokens == count], mine) for count in counts]
            lines.append(f"| {NAMES[name]} | {steps:.0f} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def _cell(cells: Sequence[Cell], row: Sequence[Cell]) -> str:
    most = max(cell.photos for cell in row)
    values = [100 * c.top1 for c in cells if c.top1 is not None and c.photos >= _ENOUGH * most]
    if not values:
        return _NONE
    return f"{fmean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")
