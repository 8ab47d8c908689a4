"""`onedpiece encode`: photos to .odp files."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from onedpiece.cli.io import (
    BEST_EFFORT,
    BPP,
    CHUNK,
    CHUNK_PIXELS,
    DEVICE,
    JSON,
    LPIPS,
    MAX_BYTES,
    MODEL,
    OUT,
    PSNR,
    RECURSIVE,
    SKIP_EXISTING,
    SSIM,
    STREAM,
    TOKENS,
    Job,
    LostStdoutError,
    plan,
    reading,
    write,
)
from onedpiece.cli.reduction import DEFAULT_KEEP, TokenReduction, token_reduction
from onedpiece.cli.report import Report, counted, name_of
from onedpiece.codec.find import ENDINGS

if TYPE_CHECKING:
    from PIL import Image

    from onedpiece.codec import Codec, EncodeResult
    from onedpiece.codec.images import Converted
    from onedpiece.codec.tensors import Pixels
    from onedpiece.rate.search import SearchResult
    from onedpiece.rate.target import RateTarget

RETOKENIZE = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Merge patches inside the encoder of a model that has one (ti-256 has none): mctf, imagepiece "
        "or tome.",
    ),
]
KEEP = Annotated[
    float | None,
    typer.Option(metavar="R", help=f"The share of patches that --retokenize leaves; {DEFAULT_KEEP} of them."),
]


def encode(
    inputs: Annotated[list[str], typer.Argument(metavar="IN", help="Photos, a folder of them, or -.")],
    out: OUT = None,
    tokens: TOKENS = None,
    max_bytes: MAX_BYTES = None,
    bpp: BPP = None,
    psnr: PSNR = None,
    ssim: SSIM = None,
    lpips: LPIPS = None,
    tiles: Annotated[
        bool | None,
        typer.Option(
            help="Cut the photo into tiles of the model's size; by default only where one square cannot use "
            "the size, or reach the quality, that is asked for."
        ),
    ] = None,
    best_effort: BEST_EFFORT = False,
    retokenize: RETOKENIZE = None,
    keep: KEEP = None,
    skip_existing: SKIP_EXISTING = False,
    recursive: RECURSIVE = False,
    model: MODEL = None,
    device: DEVICE = "cpu",
    as_json: JSON = False,
) -> None:
    """Encode photos to .odp files.

    Without -o, the file of a.jpg is a.odp. A target is met by the decoded file, at the photo's own size;
    where it is out of reach, nothing is written and the exit status is 1. The PSNR that is printed is that of
    the faithful picture (`decode --sharpness 0`).

    Example: onedpiece encode photo.jpg --tokens 64 -o photo.odp
    """
    reduction = token_reduction(retokenize, keep)
    jobs = plan(inputs, out, ".odp", ENDINGS, skip_existing=skip_existing, recursive=recursive)
    if not jobs:
        return
    from onedpiece.rate.target import RateTarget
    from onedpiece.weights import load

    target = RateTarget(tokens, max_bytes, bpp, psnr, ssim, lpips)
    codec = load(model, device, sharp=lpips is not None)  # the one target that is met by a sharp picture
    codec.check_target(target, tiles=tiles)
    if reduction:
        reduction.apply_to(codec)
    request = _Request(target, tiles, best_effort, reduction)
    with (
        Report(
            [job.source for job in jobs], as_json=as_json, data_on_stdout=jobs[0].target == STREAM
        ) as report,
        ThreadPoolExecutor(1) as aside,
    ):
        written: deque[_Written] = deque()
        try:
            for photos in read_ahead(jobs):
                before = len(written)
                written.extend(_encode_together(codec, photos, request, report, aside))
                _tell(written, before, request, report)  # they were scored beside the network's work
        except (KeyboardInterrupt, LostStdoutError):
            aside.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            _tell(written, len(written), request, report)


class _Request(NamedTuple):
    """What the command asks of every photo."""

    target: "RateTarget"
    tiles: bool | None
    best_effort: bool
    reduction: TokenReduction | None


class _Written(NamedTuple):
    """A photo's size and conversions, its file's code and length, and its PSNR in dB once measured."""

    job: Job
    size: tuple[int, int]
    conversions: tuple[str, ...]
    result: "EncodeResult"
    bytes: int
    psnr: "Future[float]"


def _encode_together(
    codec: "Codec",
    read: "dict[Job, Converted | Exception]",
    request: _Request,
    report: Report,
    aside: ThreadPoolExecutor,
) -> list[_Written]:
    from onedpiece.codec.codec import decode_pictures

    photos = _readable(read, report)
    with report.steps("tiles") as progress:
        outcomes = codec.encode_batch_to(
            [photo.image for photo in photos.values()],
            request.target,
            tiles=request.tiles,
            best_effort=request.best_effort,
            progress=progress,
            return_exceptions=True,
        )
    written = _write_files(dict(zip(photos, outcomes, strict=True)), report)
    # Drawing the sharp pictures takes five times as long and more, and their PSNR says less of the tokens.
    pictures = decode_pictures(codec.model, [result.code for result, _ in written.values()], sharpness=0.0)
    return [
        _Written(
            job,
            photos[job].image.size,
            photos[job].conversions,
            result,
            size,
            aside.submit(_psnr, photos[job].image, picture),
        )
        for (job, (result, size)), picture in zip(written.items(), pictures, strict=True)
    ]


def _readable(read: "dict[Job, Converted | Exception]", report: Report) -> "dict[Job, Converted]":
    """Return the photos that could be read, and say what is wrong with the others."""
    photos = {}
    for job, photo in read.items():
        with report.guarding(job.source):
            if isinstance(photo, Exception):
                raise photo
            if photo.damage:
                report.warn(job.source, photo.damage)
            photos[job] = photo
    return photos


def _write_files(
    outcomes: "dict[Job, EncodeResult | Exception]", report: Report
) -> "dict[Job, tuple[EncodeResult, int]]":
    """Write the files of the photos that could be encoded, and return these with their files' bytes."""
    written = {}
    for job, outcome in outcomes.items():
        with report.guarding(job.source):
            if isinstance(outcome, Exception):
                raise outcome
            data = outcome.code.to_bytes()
            write(job.target, data)
            written[job] = outcome, len(data)
    return written


def _psnr(photo: "Image.Image", picture: "Image.Image | Pixels") -> float:
    from onedpiece.codec.tensors import no_larger
    from onedpiece.metrics.pixel import image_psnr

    return image_psnr(photo, no_larger(picture, photo.size))


def _tell(written: "deque[_Written]", count: int, request: _Request, report: Report) -> None:
    """Say that the first `count` files are finished, and forget them."""
    for _ in range(count):
        each = written.popleft()
        if not each.psnr.cancelled():
            record = _record(each, request)
            report.done(_line(record), record)


def read_ahead(jobs: Sequence[Job]) -> "Iterator[dict[Job, Converted | Exception]]":
    """Yield photos, or why one could not be read, as many as go together; the next are read meanwhile.

    They are CHUNK, or fewer where those have CHUNK_PIXELS: three such parts are in memory at once.
    """
    waiting = iter(jobs)
    if len(jobs) == 1:
        yield _read(waiting)
        return
    with ThreadPoolExecutor(1) as aside:
        coming = aside.submit(_read, waiting)
        while photos := coming.result():
            coming = aside.submit(_read, waiting)
            yield photos


def _read(jobs: "Iterator[Job]") -> "dict[Job, Converted | Exception]":
    from onedpiece.codec.images import read_converted

    photos: dict[Job, Converted | Exception] = {}
    pixels = 0
    while len(photos) < CHUNK and pixels < CHUNK_PIXELS and (job := next(jobs, None)):
        try:
            with reading(job.source, seekable=True) as file:
                photo = photos[job] = read_converted(file)
            pixels += photo.image.width * photo.image.height
        except Exception as error:  # raised again where its turn comes
            photos[job] = error
    return photos


def _record(written: _Written, request: _Request) -> dict[str, Any]:
    job, (width, height), conversions, result, size, score = written
    quality = score.result()
    record = {
        "file": job.source,
        "out": job.target,
        "tokens": len(result.code),
        "bytes": size,
        "bpp": 8 * size / (width * height),
        "width": width,
        "height": height,
        "psnr": quality if isfinite(quality) else None,
        "sharpness": 0.0,
    }
    if conversions:
        record["converted"] = list(conversions)
    if result.code.tiles:
        record["tiles"] = len(result.code.tiles.counts)
    return record | _target_record(request, result.search)


def _target_record(request: _Request, search: "SearchResult | None") -> dict[str, Any]:
    """What to report of token reduction and of a quality target."""
    record = request.reduction.record() if request.reduction else {}
    quality = request.target.quality
    if search is None or quality is None:
        return record
    return record | {
        "target": {"metric": quality.metric, "value": quality.value},
        "reached": search.score if isfinite(search.score) else None,
        "met": search.reached,
    }


def _line(record: dict[str, Any]) -> str:
    quality = "lossless" if record["psnr"] is None else f"PSNR {record['psnr']:.1f} dB at sharpness 0"
    rate = f"{counted(record['tokens'])}, {record['bytes']} bytes, {record['bpp']:.4f} bpp"
    return f"{name_of(record['out'])}: {rate}, {quality}{_verdict(record)}"


def _verdict(record: dict[str, Any]) -> str:
    if "target" not in record:
        return ""
    metric, value = record["target"]["metric"], record["target"]["value"]
    verdict = "reaches" if record["met"] else "falls short of"
    reached = "of a lossless picture" if record["reached"] is None else f"{record['reached']:.4g}"
    return f"; {metric} {reached} {verdict} {value:g}"
