"""The files of a comparison, as names and bytes."""

import base64
import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib import resources
from io import BytesIO, StringIO
from math import isfinite
from statistics import fmean
from typing import Any, NamedTuple

from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.evaluation.comparison import Reconstruct
from onedpiece.evaluation.plots import caption, contact_sheet, panel_svg, rd_png
from onedpiece.evaluation.results import (
    MIN_PHOTO_RATIO,
    OURS,
    OWN,
    Cell,
    ComparisonResult,
    CurvePoint,
    Table,
    curve_point,
    delta_table,
    score_table,
)
from onedpiece.metrics.descriptors import Metric

COLUMNS = ("photo", "codec", "budget", "metric", "score", "bytes", "bpp", "tokens", "setting")
DOES_NOT_FIT = "does not fit"


class ExportedFile(NamedTuple):
    """A file that is to be written.

    Attributes:
        name: its path below the output folder, with slashes.
        data: the whole file.
    """

    name: str
    data: bytes


def export_files(result: ComparisonResult, reconstruct: Reconstruct) -> Iterator[ExportedFile]:
    """Yield results.csv, curves/CODEC.json, rd.png, side_by_side.png and report.html.

    Args:
        result: what was compared, at least one photo; the first one is drawn side by side.
        reconstruct: draws a point's file again.
    """
    yield ExportedFile("results.csv", _bytes_of(results_csv(result)))
    for codec in result.codecs:
        curve = json.dumps(curve_file(result, codec).to_dict(), indent=2)
        yield ExportedFile(f"curves/{codec}.json", _bytes_of(f"{curve}\n"))
    yield ExportedFile("rd.png", rd_png(result))
    sheet = BytesIO()
    contact_sheet(result, 0, reconstruct).save(sheet, "PNG")
    yield ExportedFile("side_by_side.png", sheet.getvalue())
    yield ExportedFile("report.html", _bytes_of(report_html(result, reconstruct)))


def _bytes_of(text: str) -> bytes:
    """Return UTF-8; what of a photo's name is none, is escaped."""
    return text.encode(errors="backslashreplace")


def curves_json(result: ComparisonResult, codecs: Sequence[str]) -> str:
    """Return the codecs' curves, in CompressAI's schema, as a JSON list."""
    return json.dumps([curve_file(result, codec).to_dict() for codec in codecs], indent=2)


def results_csv(result: ComparisonResult) -> str:
    """Return every score as CSV with a header; a codec that does not fit a budget has a row that says so."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_rows(result))
    return text.getvalue()


def _rows(result: ComparisonResult) -> Iterable[tuple[object, ...]]:
    pixels = result.side**2
    for at, photo in enumerate(result.photos):
        for codec in result.measured:
            for budget in result.budgets:
                for metric in result.metrics:
                    point = result.rd_point(at, codec, budget, metric.name)
                    key = (photo.name, codec, budget, metric.name)
                    if point is None:
                        yield (*key, "", "", "", "", DOES_NOT_FIT)
                        continue
                    size = len(point.data)
                    tokens = "" if point.tokens is None else point.tokens
                    yield (
                        *key,
                        f"{point.score:.6f}",
                        size,
                        f"{8 * size / pixels:.6f}",
                        tokens,
                        point.setting,
                    )


@dataclass(frozen=True)
class CurveFile:
    """One codec's curve in the schema of CompressAI's results, which its plot tool overlays.

    Attributes:
        name: the legend's text.
        description: what was measured and how.
        results: columns of equal length: bpp, bytes, tokens (ours), photos, how many of them are lossless
            and left out of the PSNR, and one a metric.
    """

    name: str
    description: str
    results: dict[str, list[float | None]]

    def to_dict(self) -> dict[str, Any]:
        """Return a mapping that JSON can hold."""
        return asdict(self)


def curve_file(result: ComparisonResult, codec: str) -> CurveFile:
    """Return one codec's curve; budgets that it cannot fit have no point.

    A classical format's file is chosen anew for each metric, so that bytes and bpp are means over them too. A
    published curve is what it was.
    """
    if codec in result.published:
        curve = result.published[codec]
        return CurveFile(
            curve.name, curve.description, {key: list(row) for key, row in curve.results.items()}
        )
    columns: dict[str, list[float | None]] = {
        "bpp": [],
        "bytes": [],
        "budget": [],
        "photos": [],
        "lossless": [],
    }
    if codec in OWN:
        columns["tokens"] = []
    columns |= {metric.json_key: [] for metric in result.metrics}
    for budget in result.budgets:
        points = [curve_point(result, codec, budget, metric) for metric in result.metrics]
        present = [p for p in points if p is not None]
        if present:
            _append(columns, present, result)
    return CurveFile(result.title(codec), _description(result), columns)


def _append(
    columns: dict[str, list[float | None]], points: list[CurvePoint], result: ComparisonResult
) -> None:
    size = fmean(p.bytes for p in points)
    columns["bpp"].append(round(8 * size / result.side**2, 6))
    columns["bytes"].append(round(size, 3))
    columns["budget"].append(points[0].budget)
    columns["photos"].append(points[0].photos)
    columns["lossless"].append(max(p.lossless for p in points))
    if "tokens" in columns:
        columns["tokens"].append(points[0].tokens)
    for metric, p in zip(result.metrics, points, strict=True):
        # JSON has no infinity, which is the PSNR where all photos are lossless.
        columns[metric.json_key].append(round(p.score, 6) if isfinite(p.score) else None)


def _description(result: ComparisonResult) -> str:
    return (
        f"{len(result.photos)} photos as {result.side}x{result.side} squares; whole-file bytes; best file "
        "within each byte budget over scale and quality, chosen per metric; means over the photos"
    )


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
        "COUNT": "1 photo" if len(result.photos) == 1 else f"{len(result.photos)} photos",
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
    title = f"{escape(table.title)} <span>({escape(table.note)})</span>"
    return (
        f'<div class="scroll"><table><caption>{title}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    mark = ' class="best"' if cell.best else ""
    detail = f"<small>{escape(cell.detail)}</small>" if cell.detail else ""
    return f"<td{mark}>{escape(cell.text)}{detail}</td>"


def _address(image: Image.Image) -> str:
    """Return a picture as a data: address."""
    file = BytesIO()
    image.save(file, "WEBP", quality=_COPY_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _data(result: ComparisonResult, reconstruct: Reconstruct) -> str:
    data = {
        "budgets": list(result.budgets),
        "codecs": [{"id": c, "name": result.title(c)} for c in result.measured],
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
    for codec in result.measured:
        points = [result.rd_point(at, codec, b, result.display_metric.name) for b in result.budgets]
        files[codec] = [
            {"src": _address(reconstruct(point)), "caption": caption(result, point)} if point else None
            for point in points
        ]
    photo = result.photos[at]
    steps = _steps(result, at, reconstruct)
    return {"name": photo.name, "original": _address(photo.image), "files": files, "steps": steps}


def _steps(result: ComparisonResult, at: int, reconstruct: Reconstruct) -> list[dict[str, object]]:
    """Return our prefixes of one photo, from one token on: those within the budgets, and shorter ones.

    Each has its tokens and its bytes, and a picture or the budget whose file it is.
    """
    metric = result.display_metric.name
    points = {
        point.tokens: (place, point)
        for place, budget in enumerate(result.budgets)
        if (point := result.rd_point(at, OURS, budget, metric)) and point.tokens
    }
    if not points:
        return []
    fewest = min(points)
    code = Code.from_bytes(points[fewest][1].data)
    shorter = [4**power for power in range(fewest) if 4**power < fewest]  # each takes a decoder's second
    steps: list[dict[str, object]] = []
    for tokens in shorter:
        data = code[:tokens].to_bytes()
        picture = reconstruct(points[fewest][1]._replace(data=data, tokens=tokens))
        steps.append({"tokens": tokens, "bytes": len(data), "src": _address(picture)})
    for tokens, (place, point) in sorted(points.items()):
        steps.append({"tokens": tokens, "bytes": len(point.data), "budget": place})
    return steps
