"""`onedpiece decode`: .odp files to pictures."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onedpiece.cli.io import (
    CHUNK,
    CODES,
    DEVICE,
    JSON,
    MODEL,
    OUT,
    RECURSIVE,
    SKIP_EXISTING,
    STREAM,
    Job,
    plan,
    reading,
    write,
)
from onedpiece.cli.report import Report, counted, name_of

if TYPE_CHECKING:
    from PIL import Image

    from onedpiece.bitstream import Code
    from onedpiece.codec.codec import Codec

_QUALITY = 95  # of JPEG, WebP and AVIF: what the codec lost should be all that is lost


def decode(
    inputs: Annotated[list[str], typer.Argument(metavar="IN", help=".odp files, a folder of them, or -.")],
    out: OUT = None,
    tokens: Annotated[int | None, typer.Option(metavar="K", help="Decode the first K tokens only.")] = None,
    sharpness: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="0: faithful (most PSNR) … 1: most natural. Without it, what the file asks for."
        ),
    ] = None,
    skip_existing: SKIP_EXISTING = False,
    recursive: RECURSIVE = False,
    model: MODEL = None,
    device: DEVICE = "cpu",
    as_json: JSON = False,
) -> None:
    """Decode .odp files to pictures.

    They have the photos' own sizes, and are PNG or what the ending of OUT says. Without -o, the picture of
    a.odp is a.png, unless that exists: it may be the original.

    Example: onedpiece decode photo.odp --tokens 32 -o photo_32.png
    """
    jobs = plan(
        inputs, out, ".png", CODES, keep_existing=True, skip_existing=skip_existing, recursive=recursive
    )
    if not jobs:
        return
    file_format = _format_of(jobs[0].target)
    if sharpness is not None and not 0 <= sharpness <= 1:
        raise ValueError(f"--sharpness is {sharpness}; use 0 (faithful) to 1 (most natural)")
    from onedpiece.weights import load

    codec = load(model, device, sharp=sharpness != 0)
    with Report(
        [job.source for job in jobs], as_json=as_json, data_on_stdout=jobs[0].target == STREAM
    ) as report:
        for start in range(0, len(jobs), CHUNK):
            _decode_together(codec, jobs[start : start + CHUNK], tokens, sharpness, file_format, report)


def _decode_together(
    codec: "Codec",
    jobs: list[Job],
    tokens: int | None,
    sharpness: float | None,
    file_format: str,
    report: Report,
) -> None:
    codes = _read(codec, jobs, tokens, report)
    images = codec.decode_batch(list(codes.values()), sharpness=sharpness)
    for (job, code), image in zip(codes.items(), images, strict=True):
        with report.guarding(job.source):
            write(job.target, _file_of(image, file_format))
            line = f"{name_of(job.target)}: {image.width}x{image.height} from {counted(len(code))}"
            report.done(line, _record(job, code, image))


def _read(codec: "Codec", jobs: list[Job], tokens: int | None, report: Report) -> "dict[Job, Code]":
    from onedpiece.bitstream import Code

    codes = {}
    for job in jobs:
        with report.guarding(job.source), reading(job.source) as file:
            code = Code.read(file, codec.tables_of)
            codec.check_code(code)
            codes[job] = code if tokens is None else code.first(tokens)
    return codes


def _format_of(target: str) -> str:
    suffix = Path(target).suffix.lower()
    if target == STREAM or suffix in ("", ".png"):
        return "PNG"
    from PIL import Image

    file_format = Image.registered_extensions().get(suffix, "")
    if file_format not in Image.SAVE:
        raise ValueError(f"cannot write pictures that end in {suffix}; use .png, .jpg, .webp or .avif")
    return file_format


def _file_of(image: "Image.Image", file_format: str) -> bytes:
    file = BytesIO()
    image.save(file, file_format, quality=_QUALITY)
    return file.getvalue()


def _record(job: Job, code: "Code", image: "Image.Image") -> dict[str, Any]:
    return {
        "file": job.source,
        "out": job.target,
        "tokens": len(code),
        "width": image.width,
        "height": image.height,
    }
