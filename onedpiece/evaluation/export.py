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
from onedpiece.evaluation.results import OURS, Point, Study, point

COLUMNS = ("photo", "codec", "budget", "metric", "score", "bytes", "bpp", "tokens", "setting")
DOES_NOT_FIT = "does not fit"


class Artefact(NamedTuple):
    """A file that is to be written.

    Attributes:
        name: its path below the output folder, with slashes.
        data: the whole file.
    """

    name: str
    data: bytes


def artefacts(study: Study, reconstruct: Reconstruct) -> Iterator[Artefact]:
    """Yield results.csv, curves/CODEC.json, rd.png, side_by_side.png and report.html.

    Args:
        study: what was compared, at least one photo; the first one is drawn side by side.
        reconstruct: draws a shot's file again.
    """
    yield Artefact("results.csv", results_csv(study).encode())
    for codec in study.codecs:
        curve = json.dumps(curve_file(study, codec).to_dict(), indent=2)
        yield Artefact(f"curves/{codec}.json", f"{curve}\n".encode())
    yield Artefact("rd.png", rd_png(study))
    sheet = BytesIO()
    contact_sheet(study, study.photos[0], reconstruct).save(sheet, "PNG")
    yield Artefact("side_by_side.png", sheet.getvalue())
    yield Artefact("report.html", report_html(study, reconstruct).encode())


def curves_json(study: Study, codecs: Sequence[str]) -> str:
    """Return the codecs' curves, in CompressAI's schema, as a JSON list."""
    return json.dumps([curve_file(study, codec).to_dict() for codec in codecs], indent=2)


def results_csv(study: Study) -> str:
    """Return every score as CSV with a header; a codec that does not fit a budget has a row that says so."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_rows(study))
    return text.getvalue()


def _rows(study: Study) -> Iterable[tuple[object, ...]]:
    pixels = study.side**2
    for photo in study.photos:
        for codec in study.codecs:
            for budget in study.budgets:
                for metric in study.metrics:
                    shot = study.shot(photo.name, codec, budget, metric.name)
                    key = (photo.name, codec, budget, metric.name)
                    if shot is None:
                        yield (*key, "", "", "", "", DOES_NOT_FIT)
                        continue
                    size = len(shot.data)
                    tokens = "" if shot.tokens is None else shot.tokens
                    yield (*key, f"{shot.score:.6f}", size, f"{8 * size / pixels:.6f}", tokens, shot.setting)


@dataclass(frozen=True)
class CurveFile:
    """One codec's curve in the schema of CompressAI's results, which its plot tool overlays.

    Attributes:
        name: the legend's text.
        description: what was measured and how.
        results: columns of equal length: bpp, bytes, tokens (ours), photos, and one a metric.
    """

    name: str
    description: str
    results: dict[str, list[float | None]]

    def to_dict(self) -> dict[str, Any]:
        """Return a mapping that JSON can hold."""
        return asdict(self)


def curve_file(study: Study, codec: str) -> CurveFile:
    """Return one codec's curve; budgets that it cannot fit have no point.

    A classical format's file is chosen anew for each metric, so that bytes and bpp are means over them too.
    """
    columns: dict[str, list[float | None]] = {"bpp": [], "bytes": [], "budget": [], "photos": []}
    if codec == OURS:
        columns["tokens"] = []
    columns |= {metric.json_key: [] for metric in study.metrics}
    for budget in study.budgets:
        points = [point(study, codec, budget, metric) for metric in study.metrics]
        present = [p for p in points if p is not None]
        if present:
            _append(columns, present, study)
    return CurveFile(study.model if codec == OURS else codec, _description(study), columns)


def _append(columns: dict[str, list[float | None]], points: list[Point], study: Study) -> None:
    size = fmean(p.bytes for p in points)
    columns["bpp"].append(round(8 * size / study.side**2, 6))
    columns["bytes"].append(round(size, 3))
    columns["budget"].append(points[0].budget)
    columns["photos"].append(points[0].photos)
    if "tokens" in columns:
        columns["tokens"].append(points[0].tokens)
    for metric, p in zip(study.metrics, points, strict=True):
        # JSON has no infinity; two equal pictures have no finite PSNR.
        columns[metric.json_key].append(round(p.score, 6) if isfinite(p.score) else None)


def _description(study: Study) -> str:
    return (
        f"{len(study.photos)} photos as {study.side}x{study.side} squares; whole-file bytes; best file "
        "within each byte budget over scale and quality, chosen per metric; means over the photos"
    )
