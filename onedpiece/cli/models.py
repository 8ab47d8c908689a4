"""The verbs about models: `onedpiece models`, `convert` and `export`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from onedpiece.cli.io import MODEL, OutputError, printable, say

FORMATS = ("onnx",)


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

    Example: onedpiece convert turing-motors/One-D-Piece-S-256 one-d-piece-s
    """
    if out.exists() and not overwrite and (out.is_file() or any(out.iterdir())):
        raise typer.BadParameter(f"{out} is there already; name another, or say --overwrite")
    from onedpiece.weights.released import convert_back, convert_released

    done = convert_back(source, out) if Path(source).is_dir() else convert_released(source, out)
    say(printable(f"{done}: converted from {source}"))


def export(
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="The folder that is made, as ti-256.onnx; of a head the file."),
    ],
    file_format: Annotated[str, typer.Option("--format", metavar="F", help="onnx.")] = "onnx",
    head: Annotated[
        str | None, typer.Option(metavar="H", help="This head in place of the model: its task, or its file.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(metavar="K", help="With --head: how many tokens it is to read; all.")
    ] = None,
    model: MODEL = None,
) -> None:
    """Write a model as graphs that run in onnxruntime, without torch.

    OUT holds encoder.onnx (pixels to tokens), decoder.onnx (any number of tokens to the faithful picture)
    and, where the model has them, sharp.onnx (the sharp picture) and forecast.onnx (the PSNR of every
    prefix). encode, decode and info take it as --model OUT. With --head OUT is one graph, from K tokens to
    what the head says. It is compared with torch before it appears.

    Example: onedpiece export --format onnx ti-256.onnx
    """
    if file_format not in FORMATS:
        raise ValueError(f"--format is {file_format!r}; there are: {', '.join(FORMATS)}")
    if head is not None:
        if model is not None:
            raise typer.BadParameter("--head and --model both say what is exported; leave one out")
        _export_head(head, out, tokens)
        return
    if tokens is not None:
        raise typer.BadParameter("--tokens says how many a head reads; give --head, or leave it out")
    from onedpiece.bitstream.packing import known_tables
    from onedpiece.weights import load
    from onedpiece.weights.export import export_onnx

    codec = load(model)
    tables = codec.model.tables or known_tables(codec.fingerprint)
    with _writing(out):
        found = export_onnx(codec.tokenizer, out, tables)
    say(f"{out}: {found.equal_tokens:.2%} of tokens as in torch, pictures within {found.levels:.2g} levels")


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Name the output where it cannot be written, and not the file beside it that was to become it."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}") from error


def _export_head(name: str, out: Path, tokens: int | None) -> None:
    from onedpiece.heads import find_head
    from onedpiece.heads.export import export_head

    loaded = find_head(name)
    count = loaded.head.config.num_tokens if tokens is None else tokens
    with _writing(out):
        found = export_head(loaded, out, count)
    say(f"{out}: {count} tokens to {loaded.head.config.task}, within {found:.1g} of torch")
