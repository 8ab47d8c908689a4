"""`onedpiece info`: what a file says about itself, without the network."""

from functools import partial
from typing import Annotated, Any

import typer

from onedpiece.cli.job import CODES, expand
from onedpiece.cli.options import JSON, TABLES
from onedpiece.cli.report import Report, counted
from onedpiece.cli.streams import reading


def info(
    inputs: Annotated[list[str], typer.Argument(metavar="IN", help=".odp files, a folder of them, or -.")],
    model: TABLES = None,
    as_json: JSON = False,
) -> None:
    """Say what .odp files hold."""
    sources = expand(inputs, CODES)
    with Report(sources, as_json=as_json) as report:
        for source in sources:
            with report.guarding(source):
                record = _record(source, model)
                report.done(_line(record), record)


def _record(source: str, folder: str | None) -> dict[str, Any]:
    from onedpiece.bitstream import MAX_FILE_BYTES, Code
    from onedpiece.bitstream.table_files import tables_beside

    with reading(source) as file:
        data = file.read(MAX_FILE_BYTES + 1)
    code = Code.from_bytes(data, partial(tables_beside, folder))
    width, height = code.size or (None, None)
    tiles = {} if code.tiles is None else {"tiles": len(code.tiles.counts)}
    return tiles | {
        "file": source,
        "tokens": len(code),
        "bytes": len(data),
        "bpp": 8 * len(data) / (width * height) if width and height else None,
        "width": width,
        "height": height,
        "codebook_size": code.codebook_size,
        "fingerprint": code.fingerprint.hex(),
    }


def _line(record: dict[str, Any]) -> str:
    size = (
        "model's own size" if record["width"] is None else "{width}x{height}, {bpp:.4f} bpp".format(**record)
    )
    tokens = f"{counted(record['tokens'])} of {record['codebook_size']}"
    tokens += f" in {record['tiles']} tiles" if "tiles" in record else ""
    return f"{record['file']}: {tokens}, {record['bytes']} bytes, {size}, model {record['fingerprint']}"
