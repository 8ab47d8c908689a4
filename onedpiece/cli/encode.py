"""`onedpiece encode`: photos to .odp files."""

from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any
from warnings import filterwarnings

import typer

from onedpiece.cli.job import PICTURES, STREAM, Job, plan
from onedpiece.cli.options import CHUNK, DEVICE, JSON, MODEL, OUT
from onedpiece.cli.report import Report, counted, name_of
from onedpiece.cli.streams import reading, write

if TYPE_CHECKING:
    from PIL import Image

    from onedpiece.bitstream import Code
    from onedpiece.codec import Codec


def encode(
    inputs: Annotated[list[str], typer.Argument(metavar="IN", help="Photos, a folder of them, or -.")],
    out: OUT = None,
    tokens: Annotated[int | None, typer.Option(metavar="K", help="Tokens to keep; all by default.")] = None,
    max_bytes: Annotated[
        int | None, typer.Option(metavar="B", help="Keep as many tokens as fit a file of B bytes.")
    ] = None,
    model: MODEL = None,
    device: DEVICE = "cpu",
    as_json: JSON = False,
) -> None:
    """Encode photos to .odp files.

    Without -o, the file of a.jpg is a.odp.
    """
    jobs = plan(inputs, out, ".odp", PICTURES)
    from onedpiece.weights import load

    _expect_large_photos()
    codec = load(model, device)
    codec.check_budget(tokens, max_bytes)
    with Report(
        [job.source for job in jobs], as_json=as_json, data_on_stdout=jobs[0].target == STREAM
    ) as report:
        for start in range(0, len(jobs), CHUNK):
            _encode_together(codec, jobs[start : start + CHUNK], tokens, max_bytes, report)


def _encode_together(
    codec: "Codec", jobs: list[Job], tokens: int | None, max_bytes: int | None, report: Report
) -> None:
    photos = _read(jobs, report)
    codes: dict[Job, Code] = {}
    for (job, _), code in zip(
        photos.items(), codec.encode_batch(list(photos.values()), tokens=tokens), strict=True
    ):
        with report.guarding(job.source):
            code = code if max_bytes is None else code.fit(max_bytes)
            write(job.target, code.to_bytes())
            codes[job] = code
    for (job, code), image in zip(codes.items(), codec.decode_batch(list(codes.values())), strict=True):
        record = _record(job, code, photos[job], image)
        report.done(_line(record), record)


def _read(jobs: list[Job], report: Report) -> "dict[Job, Image.Image]":
    from onedpiece.pictures import read_picture

    photos = {}
    for job in jobs:
        with report.guarding(job.source), reading(job.source, seekable=True) as file:
            photos[job] = read_picture(file)
    return photos


def _expect_large_photos() -> None:
    """Silence Pillow's warning at 90 megapixels: cameras have more, and from 179 on a picture is refused."""
    from PIL import Image

    filterwarnings("ignore", category=Image.DecompressionBombWarning)


def _record(job: Job, code: "Code", photo: "Image.Image", image: "Image.Image") -> dict[str, Any]:
    from onedpiece.pictures import psnr

    size = len(code.to_bytes())
    quality = psnr(photo, image)
    return {
        "file": job.source,
        "out": job.target,
        "tokens": len(code),
        "bytes": size,
        "bpp": 8 * size / (photo.width * photo.height),
        "width": photo.width,
        "height": photo.height,
        "psnr": quality if isfinite(quality) else None,
    }


def _line(record: dict[str, Any]) -> str:
    quality = "lossless" if record["psnr"] is None else f"PSNR {record['psnr']:.1f} dB"
    rate = f"{counted(record['tokens'])}, {record['bytes']} bytes, {record['bpp']:.4f} bpp"
    return f"{name_of(record['out'])}: {rate}, {quality}"
