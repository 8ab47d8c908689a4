"""`onedpiece data`: photos made ready for training."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onedpiece._progress import progress_bar
from onedpiece.cli.io import printable, say
from onedpiece.cli.report import FAILED

if TYPE_CHECKING:
    from onedpiece.training.data.prepare import Prepared

data = typer.Typer(help="Make photos ready for training.", no_args_is_help=True, rich_markup_mode=None)


@data.callback()
def _data() -> None:
    # A group with a callback keeps its one verb's name on the command line.
    pass


@data.command()
def prepare(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="IN... OUT", help="Folders, .tar files or photos; then a folder.")
    ],
    size: Annotated[int, typer.Option(help="Pixels of the short side; smaller photos stay.")] = 256,
    shards: Annotated[int | None, typer.Option(help="How many; without: one for each 1000 photos.")] = None,
    format_: Annotated[str, typer.Option("--format", help="jpeg, webp or png.")] = "jpeg",
    quality: Annotated[int, typer.Option(help="Of JPEG and WebP, to 100.")] = 95,
    labels: Annotated[
        bool, typer.Option("--labels", help="Write index.tsv too: a photo's first folder is its label.")
    ] = False,
    on_error: Annotated[str, typer.Option(help="Of a photo that cannot be read: skip or stop.")] = "skip",
    jobs: Annotated[int, typer.Option(help="Shards at once; 0: one for each core.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write WebDataset shards of photos that were scaled down; started again, it goes on where it was.

    As in `onedpiece data prepare PHOTOS data/train --size 256 --shards 16`. Photos that cannot be read are
    named, counted and left out; the exit status is then 1.
    """
    from onedpiece.training.data.prepare import PrepareConfig
    from onedpiece.training.data.prepare import prepare as write_shards

    *sources, out = inputs
    if not sources:
        raise typer.BadParameter("name what to read, and behind it the folder to write")
    if on_error not in ("skip", "stop"):
        raise typer.BadParameter(f"--on-error is {on_error}; use skip or stop")
    config = PrepareConfig(size, format_, quality, shards, labels)  # type: ignore[arg-type]
    with progress_bar("Preparing") as progress:
        done = write_shards(sources, out, config, on_error, jobs or os.cpu_count() or 1, progress)  # type: ignore[arg-type]
    _say_what_is_there(done, out, as_json)
    if done.broken:
        raise typer.Exit(FAILED)


def _say_what_is_there(done: "Prepared", out: Path, as_json: bool) -> None:
    for why in done.broken:
        sys.stderr.write(f"onedpiece: left out: {printable(why)}\n")
    if as_json:
        record = {"out": str(out), "shards": len(done.shards), "pictures": done.pictures}
        say(json.dumps(record | {"kept": done.kept, "broken": list(done.broken)}))
        return
    kept = f", {done.kept} of them from before" if done.kept else ""
    left_out = f"; {len(done.broken)} could not be read" if done.broken else ""
    say(printable(f"{out}: {done.pictures} pictures in {len(done.shards)} shards{kept}{left_out}"))
