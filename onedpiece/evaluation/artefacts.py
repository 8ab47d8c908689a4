"""The files of a comparison, as names and bytes."""

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import NamedTuple

from onedpiece.evaluation.contact_sheet import contact_sheet
from onedpiece.evaluation.curves import rd_png
from onedpiece.evaluation.reconstruct import Reconstruct
from onedpiece.evaluation.report import report_html
from onedpiece.evaluation.results_files import curve_file, results_csv
from onedpiece.evaluation.study import Study


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
