"""The files of a comparison, written whole or not at all."""

import json
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from onedpiece.evaluation.contact_sheet import contact_sheet
from onedpiece.evaluation.curves import rd_png
from onedpiece.evaluation.reconstruct import Reconstruct
from onedpiece.evaluation.report import report_html
from onedpiece.evaluation.results_files import curve_file, results_csv
from onedpiece.evaluation.study import Study


def write_artefacts(study: Study, reconstruct: Reconstruct, folder: Path) -> list[Path]:
    """Write results.csv, curves/CODEC.json, rd.png, side_by_side.png and report.html into `folder`.

    Args:
        study: what was compared, at least one photo.
        reconstruct: draws a shot's file again.
        folder: made where it is missing; files of these names are replaced.

    Returns:
        What was written, the page last.

    Raises:
        OSError: the folder cannot be written to.
    """
    contents: dict[str, bytes] = {"results.csv": results_csv(study).encode()}
    for codec in study.codecs:
        contents[f"curves/{codec}.json"] = (curves_json(study, [codec])[1:-1].strip() + "\n").encode()
    contents["rd.png"] = rd_png(study)
    contents["side_by_side.png"] = _sheet_png(study, reconstruct)
    contents["report.html"] = report_html(study, reconstruct).encode()
    return [_write(folder / name, data) for name, data in contents.items()]


def curves_json(study: Study, codecs: Sequence[str]) -> str:
    """Return the codecs' curves, in CompressAI's schema, as a JSON list."""
    return json.dumps([curve_file(study, codec).to_dict() for codec in codecs], indent=2)


def _sheet_png(study: Study, reconstruct: Reconstruct) -> bytes:
    file = BytesIO()
    contact_sheet(study, study.photos[0], reconstruct).save(file, "PNG")
    return file.getvalue()


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path
