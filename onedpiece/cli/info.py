"""The verbs that run no network: `onedpiece info`, `models`, `truncate` and `convert`."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from onedpiece.cli.io import (
    CODES,
    JSON,
    OUT,
    RECURSIVE,
    STREAM,
    TABLES,
    expand,
    plan,
    printable,
    reading,
    say,
    write,
)
from onedpiece.cli.report import Report, counted, name_of


def info(
    inputs: Annotated[list[str], typer.Argument(metavar="IN", help=".odp files, a folder of them, or -.")],
    recursive: RECURSIVE = False,
    model: TABLES = None,
    as_json: JSON = False,
) -> None:
    """Say what .odp files hold.

    Example: onedpiece info photo.odp --json
    """
    sources = expand(inputs, CODES, recursive=recursive)
    with Report(sources, as_json=as_json) as report:
        for source in sources:
            with report.guarding(source):
                record = _record(source, model)
                report.done(_line(record), record)


def _record(source: str, folder: str | None) -> dict[str, Any]:
    from onedpiece.bitstream import MAX_FILE_BYTES, Code
    from onedpiece.weights.checkpoint import tables_beside

    with reading(source) as file:
        data = file.read(MAX_FILE_BYTES + 1)
    code = Code.from_bytes(data, partial(tables_beside, folder))
    width, height = code.size or (None, None)
    more = {} if code.tiles is None else {"tiles": len(code.tiles.counts)}
    if data.endswith(b"\n"):  # one file in 256 does by chance
        more["line_end"] = 2 if data.endswith(b"\r\n") else 1
    return more | {
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
    end = ""
    if "line_end" in record:
        end = "; it ends as a line of text does: if something appended that, it counts as tokens"
    return f"{record['file']}: {tokens}, {record['bytes']} bytes, {size}, model {record['fingerprint']}{end}"


def models() -> None:
    """List the models there are.

    Beside these, --model takes the folder of any model that was trained with `onedpiece train`.

    Example: onedpiece models
    """
    from onedpiece.weights import names

    known = names()
    width = max(len(model.name) for model in known)
    for model in known:
        say(f"{model.name:{width}}  {model.note}")


def truncate(
    source: Annotated[str, typer.Argument(metavar="IN", help="An .odp file, or -.")],
    tokens: Annotated[int, typer.Option(metavar="K", help="How many tokens to keep.")],
    out: OUT = None,
    model: TABLES = None,
) -> None:
    """Keep the first tokens of a file.

    Without -o, a.odp cut to K tokens is a.K.odp.

    Example: onedpiece truncate photo.odp --tokens 32 -o small.odp
    """
    from onedpiece.bitstream import Code
    from onedpiece.weights.checkpoint import tables_beside

    if source != STREAM and Path(source).is_dir():
        raise ValueError(f"{source} is a folder; truncate takes one file")
    job = plan([source], out, f".{tokens}.odp", CODES)[0]
    with Report([source], data_on_stdout=job.target == STREAM) as report, report.guarding(source):
        with reading(source) as file:
            tables_of = partial(tables_beside, model)
            data = Code.read(file, tables_of).first(tokens).to_bytes(tables_of)
        write(job.target, data)
        report.done(f"{name_of(job.target)}: {counted(tokens)}, {len(data)} bytes", {})


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN", help="turing-motors/One-D-Piece-S-256, such a file, or one of our folders."
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder to write, or a file for IN a folder.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Turn released One-D-Piece weights into a folder of ours, or a folder of ours into the released layout.

    A folder's weights are float16. A file OUT that ends in .safetensors is one, any other is for torch.load.
    """
    if out.exists() and not overwrite and (out.is_file() or any(out.iterdir())):
        raise typer.BadParameter(f"{out} is there already; name another, or say --overwrite")
    from onedpiece.weights.released import convert_back, convert_released

    done = convert_back(source, out) if Path(source).is_dir() else convert_released(source, out)
    say(printable(f"{done}: converted from {source}"))
