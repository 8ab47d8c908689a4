"""The options that several verbs share."""

from typing import Annotated

import typer

OUT = Annotated[
    str | None,
    typer.Option("-o", "--out", metavar="OUT", help="File, folder for many, or - for standard output."),
]
MODEL = Annotated[
    str | None, typer.Option(metavar="M", help="A model's name or folder; the bundled one by default.")
]
TABLES = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="M", help="The folder of the model that made it; bundled models need none."
    ),
]
DEVICE = Annotated[str, typer.Option(help="Where the network runs, as torch names it: cpu, cuda, mps.")]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
SKIP_EXISTING = Annotated[
    bool, typer.Option("--skip-existing", help="Leave out inputs whose output is there and no older.")
]
RECURSIVE = Annotated[
    bool, typer.Option("--recursive", "-r", help="Look below the folders too; hidden ones are left out.")
]
CHUNK = 8  # files that go through the network together: more gain little and hold more pixels
