"""`onedpiece encode`: photos to .odp files."""

from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from warnings import filterwarnings

import typer

from onedpiece.cli.io import PICTURES, STREAM, Job, plan, reading, write
from onedpiece.cli.options import (
    CHUNK,
    DEVICE,
    JSON,
    KEEP,
    MODEL,
    OUT,
    RETOKENIZE,
    SKIP_EXISTING,
    FrontEnd,
    front_end,
)
from onedpiece.cli.report import Report, counted, name_of

if TYPE_CHECKING:
    from PIL import Image

    from onedpiece.bitstream import Code
    from onedpiece.codec import Codec
    from onedpiece.codec.tiles import Reached
    from onedpiece.rate.search import Found
    from onedpiece.rate.target import Aim


def encode(
    inputs: Annotated[list[str], typer.Argument(metavar="IN", help="Photos, a folder of them, or -.")],
    out: OUT = None,
    tokens: Annotated[int | None, typer.Option(metavar="K", help="Tokens to keep; all by default.")] = None,
    max_bytes: Annotated[
        int | None, typer.Option(metavar="B", help="Keep as many tokens as fit a file of B bytes.")
    ] = None,
    bpp: Annotated[float | None, typer.Option(metavar="R", help="The same, in bits a pixel.")] = None,
    psnr: Annotated[
        float | None, typer.Option(metavar="DB", help="Keep the fewest tokens that reach this PSNR.")
    ] = None,
    ssim: Annotated[float | None, typer.Option(metavar="S", help="The same for SSIM.")] = None,
    lpips: Annotated[float | None, typer.Option(metavar="X", help="The same for LPIPS, at most X.")] = None,
    tiles: Annotated[
        bool | None,
        typer.Option(help="Cut the photo into tiles of the model's size; by default where it is worth it."),
    ] = None,
    best_effort: Annotated[
        bool, typer.Option("--best-effort", help="Where a target is out of reach, take the best there is.")
    ] = False,
    retokenize: RETOKENIZE = None,
    keep: KEEP = None,
    skip_existing: SKIP_EXISTING = False,
    model: MODEL = None,
    device: DEVICE = "cpu",
    as_json: JSON = False,
) -> None:
    """Encode photos to .odp files.

    Without -o, the file of a.jpg is a.odp. A target is met by the decoded file, at the photo's own size;
    where it is out of reach, nothing is written and the exit status is 1.
    """
    reduced = front_end(retokenize, keep)
    jobs = plan(inputs, out, ".odp", PICTURES, skip_existing=skip_existing)
    if not jobs:
        return
    from onedpiece.rate.target import Aim
    from onedpiece.weights import load

    aim = Aim(tokens, max_bytes, bpp, psnr, ssim, lpips)
    _expect_large_photos()
    codec = load(model, device)
    codec.check_aim(aim, tiles=tiles)
    if reduced:
        reduced.put_into(codec)
    wish = _Wish(aim, tiles, best_effort, reduced)
    with Report(
        [job.source for job in jobs], as_json=as_json, data_on_stdout=jobs[0].target == STREAM
    ) as report:
        for start in range(0, len(jobs), CHUNK):
            _encode_together(codec, jobs[start : start + CHUNK], wish, report)


class _Wish(NamedTuple):
    aim: "Aim"
    tiles: bool | None
    best_effort: bool
    front_end: FrontEnd | None


def _encode_together(codec: "Codec", jobs: list[Job], wish: _Wish, report: Report) -> None:
    photos = _read(jobs, report)
    squares, reached = _tokenize_squares(codec, photos, wish), {}
    for job, photo in photos.items():
        with report.guarding(job.source):
            each = _reach(codec, photo, squares.get(job), wish, report)
            write(job.target, each.code.to_bytes())
            reached[job] = each
    images = codec.decode_batch([each.code for each in reached.values()])
    for (job, each), image in zip(reached.items(), images, strict=True):
        record = _record(job, each.code, photos[job], image) | _wish_record(wish, each.found)
        report.done(_line(record), record)


def _tokenize_squares(codec: "Codec", photos: "dict[Job, Image.Image]", wish: _Wish) -> "dict[Job, Code]":
    """The codes of those photos that are not cut into tiles, all in one pass."""
    from onedpiece.codec.tiles import wants_tiles

    squares = [
        job for job, photo in photos.items() if not wants_tiles(codec, photo.size, wish.aim, wish.tiles)
    ]
    codes = codec.encode_batch([photos[job] for job in squares], tokens=wish.aim.tokens)
    return dict(zip(squares, codes, strict=True))


def _reach(
    codec: "Codec", photo: "Image.Image", square: "Code | None", wish: _Wish, report: Report
) -> "Reached":
    from onedpiece.codec.tiles import Reached

    aim = wish.aim
    if square is None:
        with report.steps("tiles") as progress:
            return codec.encode_to(photo, aim, tiles=True, best_effort=wish.best_effort, progress=progress)
    if aim.target:
        found = codec.reach(photo, square, aim.target, best_effort=wish.best_effort)
        return Reached(square.first(found.tokens), found)
    budget = aim.bytes_for(photo.size)
    return Reached(square if budget is None else square.fit(budget), None)


def _read(jobs: list[Job], report: Report) -> "dict[Job, Image.Image]":
    from onedpiece.codec.images import read_picture

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
    from onedpiece.metrics.pixel import image_psnr

    size = len(code.to_bytes())
    quality = image_psnr(photo, image)
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


def _wish_record(wish: _Wish, found: "Found | None") -> dict[str, Any]:
    """What to report of a re-tokenizer and of a target."""
    record = wish.front_end.record() if wish.front_end else {}
    if found is None or wish.aim.target is None:
        return record
    return record | {
        "target": {"metric": wish.aim.target.metric, "value": wish.aim.target.value},
        "reached": found.score,
        "met": found.reached,
    }


def _line(record: dict[str, Any]) -> str:
    quality = "lossless" if record["psnr"] is None else f"PSNR {record['psnr']:.1f} dB"
    rate = f"{counted(record['tokens'])}, {record['bytes']} bytes, {record['bpp']:.4f} bpp"
    return f"{name_of(record['out'])}: {rate}, {quality}{_verdict(record)}"


def _verdict(record: dict[str, Any]) -> str:
    if "target" not in record:
        return ""
    metric, value = record["target"]["metric"], record["target"]["value"]
    verdict = "reaches" if record["met"] else "falls short of"
    return f"; {metric} {record['reached']:.4g} {verdict} {value:g}"
