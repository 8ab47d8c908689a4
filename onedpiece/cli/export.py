"""`onedpiece export`: a model in a form that runs without torch."""

from pathlib import Path
from typing import Annotated

import typer

from onedpiece.cli.io import MODEL, say

FORMATS = ("onnx",)


def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder that is made, such as ti-256.onnx.")],
    file_format: Annotated[str, typer.Option("--format", metavar="F", help="onnx.")] = "onnx",
    model: MODEL = None,
) -> None:
    """Write a model as graphs that run in onnxruntime, without torch.

    OUT holds encoder.onnx (pixels to tokens), decoder.onnx (any number of tokens to the faithful picture)
    and, where the model has them, sharp.onnx (the sharp picture) and forecast.onnx (the PSNR of every
    prefix). encode, decode and info take it as --model OUT. It is compared with torch before it appears.

    Example: onedpiece export --format onnx ti-256.onnx
    """
    if file_format not in FORMATS:
        raise ValueError(f"--format is {file_format!r}; there are: {', '.join(FORMATS)}")
    from onedpiece.bitstream.packing import known_tables
    from onedpiece.weights import load
    from onedpiece.weights.export import export_onnx

    codec = load(model)
    tables = codec.model.tables or known_tables(codec.fingerprint)
    found = export_onnx(codec.tokenizer, out, tables)
    say(f"{out}: {found.equal_tokens:.2%} of tokens as in torch, pictures within {found.levels:.2g} levels")
