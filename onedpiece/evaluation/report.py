"""A comparison as one self-contained page: pictures with a divider to drag, curves, tables; no network."""

import base64
import io
import json
import re
from html import escape
from importlib import resources

from PIL import Image

from onedpiece.evaluation.comparison import Reconstruct
from onedpiece.evaluation.plots import caption, panel_svg
from onedpiece.evaluation.results import MIN_PHOTO_RATIO, OWN, ComparisonResult
from onedpiece.evaluation.tables import Cell, Table, delta_table, score_table
from onedpiece.metrics.descriptors import Metric

MAX_PHOTOS = 6  # each weighs about 10 kB a codec and budget
_COPY_QUALITY = 92


def report_html(result: ComparisonResult, reconstruct: Reconstruct) -> str:
    """Return the whole page.

    Args:
        result: what was compared, at least one photo.
        reconstruct: draws a point's file again.
    """
    page = resources.files(__package__).joinpath("report.html").read_text(encoding="utf-8")
    parts = {
        "TITLE": escape(f"{result.model} against {', '.join(c for c in result.codecs if c not in OWN)}"),
        "COUNT": _count(len(result.photos), "photo"),
        "SIDE": str(result.side),
        "MIN_PHOTO_RATIO": f"{MIN_PHOTO_RATIO:.0%}",
        "UNREADABLE": _unreadable(result),
        "PANELS": "".join(_panel(result, metric) for metric in result.metrics),
        "TABLES": _tables(result),
        "DISPLAY_METRIC": escape(result.display_metric.axis_label),
        "COPY_QUALITY": str(_COPY_QUALITY),
        "DATA": _data(result, reconstruct),
    }
    # In one pass: what is put in may hold an @@ of its own.
    return re.sub("@@([A-Z_]+)@@", lambda found: parts[found[1]], page)


def _unreadable(result: ComparisonResult) -> str:
    if not result.unreadable:
        return ""
    listed = "; ".join(f"{u.name} ({u.reason})" for u in result.unreadable)
    return f'<p class="warning">Left out, could not be read: {escape(listed)}</p>'


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _panel(result: ComparisonResult, metric: Metric) -> str:
    label = escape(f"{metric.axis_label} over bytes, one line a codec", quote=True)
    svg = panel_svg(result, metric).replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return f"<figure>{svg}</figure>"


def _tables(result: ComparisonResult) -> str:
    html = "".join(_table(score_table(result, metric)) for metric in result.metrics)
    whole = delta_table(result)
    return html if whole is None else html + f'<div class="whole">{_table(whole)}</div>'


def _table(table: Table) -> str:
    head = "<th></th>" + "".join(f"<th scope=col>{escape(column)}</th>" for column in table.columns)
    rows = "".join(
        f"<tr{' class=ours' if row.ours else ''}><th scope=row>{escape(row.name)}</th>"
        f"{''.join(_cell(cell) for cell in row.cells)}</tr>"
        for row in table.rows
    )
    caption = f"{escape(table.title)} <span>({escape(table.note)})</span>"
    return (
        f'<div class="scroll"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    mark = ' class="best"' if cell.best else ""
    detail = f"<small>{escape(cell.detail)}</small>" if cell.detail else ""
    return f"<td{mark}>{escape(cell.text)}{detail}</td>"


def _address(image: Image.Image) -> str:
    """Return a picture as a data: address."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_COPY_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _data(result: ComparisonResult, reconstruct: Reconstruct) -> str:
    data = {
        "budgets": list(result.budgets),
        "codecs": [{"id": c, "name": result.title(c)} for c in result.codecs],
        "photos": [_photo_data(result, at, reconstruct) for at in shown_photos(len(result.photos))],
    }
    # "</script>" in a file's name would end the element.
    return json.dumps(data).replace("<", "\\u003c")


def shown_photos(count: int) -> list[int]:
    """Return the places of at most MAX_PHOTOS of `count` photos, evenly spread."""
    shown = min(MAX_PHOTOS, count)
    return [at * count // shown for at in range(shown)]


def _photo_data(result: ComparisonResult, at: int, reconstruct: Reconstruct) -> dict[str, object]:
    files: dict[str, list[dict[str, str] | None]] = {}
    for codec in result.codecs:
        points = [result.rd_point(at, codec, b, result.display_metric.name) for b in result.budgets]
        files[codec] = [
            {"src": _address(reconstruct(point)), "caption": caption(result, point)} if point else None
            for point in points
        ]
    photo = result.photos[at]
    return {"name": photo.name, "original": _address(photo.image), "files": files}
