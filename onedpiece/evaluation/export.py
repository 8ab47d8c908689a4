"""The files of a comparison, as names and bytes.

Pictures, the page, a CSV row a score, and curves in CompressAI's JSON schema.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from math import isfinite
from statistics import fmean
from typing import Any, NamedTuple

from onedpiece.evaluation.comparison import Reconstruct
from onedpiece.evaluation.plots import contact_sheet, rd_png
from onedpiece.evaluation.report import report_html
from onedpiece.evaluation.results import OWN, ComparisonResult, CurvePoint, curve_point

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
    yield ExportedFile("results.csv", results_csv(result).encode())
    for codec in result.codecs:
        curve = json.dumps(curve_file(result, codec).to_dict(), indent=2)
        yield ExportedFile(f"curves/{codec}.json", f"{curve}\n".encode())
    yield ExportedFile("rd.png", rd_png(result))
    sheet = BytesIO()
    contact_sheet(result, 0, reconstruct).save(sheet, "PNG")
    yield ExportedFile("side_by_side.png", sheet.getvalue())
    yield ExportedFile("report.html", report_html(result, reconstruct).encode())


def curves_json(result: ComparisonResult, codecs: Sequence[str]) -> str:
    """Return the codecs' curves, in CompressAI's schema, as a JSON list."""
    return json.dumps([curve_file(result, codec).to_dict() for codec in codecs], indent=2)


def results_csv(result: ComparisonResult) -> str:
    """Return every score as CSV with a header; a codec that does not fit a budget has a row that says so."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_rows(result))
    return text.getvalue()


def _rows(result: ComparisonResult) -> Iterable[tuple[object, ...]]:
    pixels = result.side**2
    for at, photo in enumerate(result.photos):
        for codec in result.codecs:
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

    A classical format's file is chosen anew for each metric, so that bytes and bpp are means over them too.
    """
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
