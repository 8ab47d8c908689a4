"""`onedpiece convert`: released One-D-Piece weights to our folders, and back."""

from pathlib import Path
from typing import Annotated

import typer

from onedpiece.cli.io import printable, say


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
