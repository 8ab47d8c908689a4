"""A token table as Markdown, as JSON, or for a terminal."""

import json
from collections.abc import Sequence
from math import isnan

from onedpiece.evaluation.metrics import Metric
from onedpiece.evaluation.token_table import TableRow

NONE = "\N{EN DASH}"


def header(metrics: Sequence[Metric]) -> list[str]:
    """Return the columns' titles."""
    arrows = [f"{m.label} {'↑' if m.higher_is_better else '↓'}" for m in metrics]
    return ["codec", "tokens", "bytes", *arrows, "judge top-1 %", "codes in use %", "rFID"]


def cells(row: TableRow, metrics: Sequence[Metric]) -> list[str]:
    """Return one row's texts, one a column of `header`; what is not known is an en dash."""
    scores = [NONE if v is None else f"{v:.{m.digits}f}" for v, m in zip(row.scores, metrics, strict=True)]
    return [
        row.codec,
        NONE if row.tokens is None else str(row.tokens),
        NONE if isnan(row.bytes) else f"{row.bytes:.0f}",
        *scores,
        _percent(row.top1),
        _percent(row.codes_in_use),
        NONE if row.rfid is None else str(row.rfid),
    ]


def table(rows: Sequence[TableRow], metrics: Sequence[Metric]) -> list[list[str]]:
    """Return the header and all rows, without the columns that nobody filled."""
    lines = [header(metrics), *(cells(row, metrics) for row in rows)]
    filled = [at for at in range(len(lines[0])) if any(line[at] != NONE for line in lines[1:])]
    return [[line[at] for at in filled] for line in lines]


def markdown(rows: Sequence[TableRow], metrics: Sequence[Metric]) -> str:
    """Return a Markdown table."""
    first, *rest = table(rows, metrics)
    rule = ["---"] + ["---:"] * (len(first) - 1)
    return "".join("| " + " | ".join(line) + " |\n" for line in (first, rule, *rest))


def table_json(rows: Sequence[TableRow], metrics: Sequence[Metric]) -> str:
    """Return a JSON list, one object a row, with nulls for what is not known."""
    return json.dumps([_record(row, metrics) for row in rows], indent=2) + "\n"


def _record(row: TableRow, metrics: Sequence[Metric]) -> dict[str, object]:
    return {
        "codec": row.codec,
        "tokens": row.tokens,
        "bytes": None if isnan(row.bytes) else row.bytes,
        "photos": row.photos,
        **{metric.json_key: score for metric, score in zip(metrics, row.scores, strict=True)},
        "judge-top1": row.top1,
        "codes-in-use": row.codes_in_use,
        "rfid": None if row.rfid is None else row.rfid.value,
        "rfid-samples": None if row.rfid is None else row.rfid.samples,
    }


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f}"
