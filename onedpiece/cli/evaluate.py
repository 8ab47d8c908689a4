"""`onedpiece evaluate`: what other networks make of our reconstructions."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onedpiece._progress import progress_bar
from onedpiece.cli.compare import BATCH_SIZE, complain, names, numbers
from onedpiece.cli.io import DEVICE, RECURSIVE, write
from onedpiece.cli.report import FAILED

if TYPE_CHECKING:
    from onedpiece.codec.codec import Codec
    from onedpiece.evaluation.downstream import DownstreamConfig, Example, Result, Task

_NONE = "\N{EN DASH}"

evaluate = typer.Typer(
    help="Check what other networks make of our reconstructions.", no_args_is_help=True, rich_markup_mode=None
)


@evaluate.callback()
def _evaluate() -> None:
    # A group with a callback keeps its one verb's name on the command line.
    pass


@evaluate.command()
def downstream(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Photos, or folders of them.")],
    task: Annotated[str, typer.Option(help="classify, detect, segment, depth or clip.")],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="classify: a table of file and imagenet_class_index; detect: a JSON of boxes; segment: a "
            "folder of masks. Without: the network's own output on the original counts as right."
        ),
    ] = None,
    network: Annotated[str | None, typer.Option(help="Another network of the same kind.")] = None,
    tokens: Annotated[str, typer.Option(help="Token counts, by commas.")] = "32,64,128,256",
    against: Annotated[str, typer.Option(help="Formats at equal bytes, by commas.")] = "webp,jpeg",
    recursive: RECURSIVE = False,
    model: Annotated[str | None, typer.Option(help="Our model: a name, or a folder.")] = None,
    device: DEVICE = "cpu",
    batch_size: BATCH_SIZE = 8,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the table there, as JSON.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Run a pretrained network on originals, on our reconstructions, and on WebP and JPEG at equal bytes.

    Example: onedpiece evaluate downstream photos/ --task classify --tokens 64,256
    """
    from onedpiece.evaluation.downstream import DownstreamConfig, Example, load_task
    from onedpiece.evaluation.photos import read_photos
    from onedpiece.weights import load

    if out is not None and out.is_dir():
        raise ValueError(f"--out is {out}, a folder; name a file")
    config = DownstreamConfig(numbers("--tokens", tokens), names(against), batch_size)
    codec = load(model, device=device)
    chosen = load_task(task, network, labels, device)
    photos = read_photos(
        inputs, codec.tokenizer.config.image_size if chosen.square else None, recursive=recursive
    )
    complain(photos)
    if not photos.photos:
        raise ValueError("none of the photos could be read")
    examples = [Example(at, *photo) for at, photo in enumerate(photos.photos)]
    results = _run(examples, codec, chosen, config)
    text = json.dumps([{**result._asdict(), "measure": chosen.measure} for result in results], indent=2)
    typer.echo(text) if as_json else _print_table(results, chosen.measure)
    if out:
        write(str(out), f"{text}\n".encode())
    if photos.unreadable:
        raise typer.Exit(FAILED)


def _run(
    examples: "list[Example]", codec: "Codec", task: "Task", config: "DownstreamConfig"
) -> "list[Result]":
    from onedpiece.evaluation.downstream import run

    with progress_bar("Showing") as progress:
        return run(examples, codec, task, config, progress)


def _print_table(results: "list[Result]", measure: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("codec")
    for column in ("tokens", "bytes", "photos", measure):
        table.add_column(column, justify="right")
    ours = results[1].codec
    for codec, tokens, size, photos, value in results:
        table.add_row(
            codec,
            _NONE if tokens is None else str(tokens) if codec == ours else f"bytes of {tokens}",
            _NONE if size is None else f"{size:.0f}",
            str(photos),
            _NONE if value is None else f"{value:.1f}" if "%" in measure else f"{value:.3f}",
        )
    Console().print(table)
