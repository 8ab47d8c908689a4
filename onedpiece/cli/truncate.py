"""`onedpiece truncate`: fewer tokens, without the network."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from onedpiece.cli.job import CODES, STREAM, plan
from onedpiece.cli.options import OUT, TABLES
from onedpiece.cli.report import Report, counted, name_of
from onedpiece.cli.streams import reading, write


def truncate(
    source: Annotated[str, typer.Argument(metavar="IN", help="An .odp file, or -.")],
    tokens: Annotated[int, typer.Option(metavar="K", help="How many tokens to keep.")],
    out: OUT = None,
    model: TABLES = None,
) -> None:
    """Keep the first tokens of a file.

    Without -o, a.odp cut to K tokens is a.K.odp.
    """
    from onedpiece.bitstream import Code
    from onedpiece.bitstream.table_files import tables_beside

    if source != STREAM and Path(source).is_dir():
        raise ValueError(f"{source} is a folder; truncate takes one file")
    job = plan([source], out, f".{tokens}.odp", CODES)[0]
    with Report([source], data_on_stdout=job.target == STREAM) as report, report.guarding(source):
        with reading(source) as file:
            data = Code.read(file, partial(tables_beside, model)).first(tokens).to_bytes()
        write(job.target, data)
        report.done(f"{name_of(job.target)}: {counted(tokens)}, {len(data)} bytes", {})
