"""`onedpiece decode`: .odp files to pictures."""

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

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
    LostStdoutError,
    plan,
    reading,
    write,
)
from onedpiece.cli.report import Report, counted, name_of

if TYPE_CHECKING:
    from PIL import Image

    from onedpiece.bitstream import Code
    from onedpiece.codec.codec import Codec
    from onedpiece.codec.tensors import Pixels

_QUALITY = 95  # of JPEG, WebP and AVIF: what the codec lost should be all that is lost
_STORING = 4  # threads at most that make files: a PNG of 12 megapixels takes longer than its decoding
_JPEG_SIDE = 65_500  # libjpeg's own limit
_SIZES_OF_THEIR_OWN = ("ICO", "ICNS")
_PNG_LEVEL = 4  # of zlib: half the time of its usual 6, for 9 % more bytes at 12 megapixels, 2 % at 451x300


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
    with (
        Report(
            [job.source for job in jobs], as_json=as_json, data_on_stdout=jobs[0].target == STREAM
        ) as report,
        ThreadPoolExecutor(min(_STORING, os.cpu_count() or 1)) as aside,
    ):
        drawn: deque[_Drawn] = deque()
        try:
            for start in range(0, len(jobs), CHUNK):
                before = len(drawn)
                codes = _read(codec, jobs[start : start + CHUNK], tokens, report)
                drawn.extend(_draw(codec, codes, sharpness, file_format, aside))
                _write(drawn, before, report)  # they were made files beside the network's work
        except (KeyboardInterrupt, LostStdoutError):
            aside.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            _write(drawn, len(drawn), report)


class _Drawn(NamedTuple):
    """A picture of `size` that was drawn, and the bytes of its file, once they are made."""

    job: Job
    code: "Code"
    size: tuple[int, int]
    file: "Future[bytes]"


def _draw(
    codec: "Codec",
    codes: "dict[Job, Code]",
    sharpness: float | None,
    file_format: str,
    aside: ThreadPoolExecutor,
) -> list[_Drawn]:
    from onedpiece.codec.codec import decode_pictures

    drawn = []
    pictures = decode_pictures(codec.model, list(codes.values()), sharpness)
    for (job, code), picture in zip(codes.items(), pictures, strict=True):
        size = code.size or (codec.image_size, codec.image_size)
        drawn.append(_Drawn(job, code, size, aside.submit(_file_of, picture, size, file_format)))
    return drawn


def _write(drawn: "deque[_Drawn]", count: int, report: Report) -> None:
    """Write the files of the first `count` pictures, say so, and forget them."""
    for _ in range(count):
        job, code, (width, height), file = drawn.popleft()
        if file.cancelled():
            continue
        with report.guarding(job.source):
            write(job.target, file.result())
            line = f"{name_of(job.target)}: {width}x{height} from {counted(len(code))}"
            report.done(line, _record(job, code, (width, height)))


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
    if file_format not in Image.SAVE or file_format in _SIZES_OF_THEIR_OWN:
        raise ValueError(f"cannot write pictures that end in {suffix}; use .png, .jpg, .webp or .avif")
    return file_format


def _file_of(picture: "Image.Image | Pixels", size: tuple[int, int], file_format: str) -> bytes:
    from onedpiece.codec.tensors import sized

    if file_format == "JPEG" and max(size) > _JPEG_SIDE:
        raise ValueError(
            f"a JPEG has sides of at most {_JPEG_SIDE} pixels, the picture has {max(size)}; use .png"
        )
    file = BytesIO()
    sized(picture, size).save(file, file_format, quality=_QUALITY, compress_level=_PNG_LEVEL)
    return file.getvalue()


def _record(job: Job, code: "Code", size: tuple[int, int]) -> dict[str, Any]:
    width, height = size
    return {
        "file": job.source,
        "out": job.target,
        "tokens": len(code),
        "width": width,
        "height": height,
    }
