"""`onedpiece bulk`: many photos to tokens on Ray Data, and back."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onedpiece._progress import no_progress, progress_bar
from onedpiece.cli.io import (
    BEST_EFFORT,
    BPP,
    JSON,
    LPIPS,
    MAX_BYTES,
    MODEL,
    PSNR,
    SSIM,
    TOKENS,
    printable,
    say,
)
from onedpiece.cli.report import FAILED

if TYPE_CHECKING:
    from onedpiece.bulk.run import Progress, Summary
    from onedpiece.bulk.shards import Layout

_LAYOUTS: dict[str, "Layout"] = {"parquet": "parquet", "webdataset": "webdataset", "odp": "tree"}
_SHOWN = 20  # failures that get a line of their own


def bulk(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="IN... OUT",
            help="Folders, .tar or .parquet files, .txt lists of them, or addresses (s3://, https://); last, "
            "the folder for the shards.",
        ),
    ],
    tokens: TOKENS = None,
    max_bytes: MAX_BYTES = None,
    bpp: BPP = None,
    psnr: PSNR = None,
    ssim: SSIM = None,
    lpips: LPIPS = None,
    best_effort: BEST_EFFORT = False,
    crops: Annotated[
        int, typer.Option(metavar="N", help="N random crops a picture, a row each, not the whole picture.")
    ] = 0,
    score: Annotated[
        str | None, typer.Option(metavar="NAME", help="Measure psnr, ssim or lpips of every decoded row.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="parquet, webdataset (tars of .odp) or odp (folders of them); with --decode png, jpg, webp.",
        ),
    ] = None,
    shard_size: Annotated[int | None, typer.Option(metavar="N", help="Pictures a shard; 512.")] = None,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Parquet's column of encoded pictures.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="NAME", help="Parquet's column of keys.")] = None,
    address: Annotated[
        str | None, typer.Option(metavar="A", help="A Ray cluster's, as ray start prints it; auto finds it.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Actors; by default one a core, or as cards allow.")
    ] = None,
    num_gpus: Annotated[float, typer.Option(metavar="G", help="Cards an actor: 1, or a share of one.")] = 0.0,
    batch: Annotated[int, typer.Option(metavar="N", help="Pictures that the network takes at once.")] = 32,
    decode: Annotated[
        bool, typer.Option("--decode", help="Make pictures of the tokens in Parquet shards.")
    ] = False,
    sharpness: Annotated[
        float | None, typer.Option(metavar="S", help="With --decode: 0 faithful … 1 most natural.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove OUT's run, and start anew.")] = False,
    model: MODEL = None,
    as_json: JSON = False,
) -> None:
    """Tokenize many photos on Ray Data, on this machine or a cluster; needs the extra [bulk].

    OUT gets Parquet shards with a row for each picture; one that cannot be read is a row with its error. The
    same command again goes on where a run was cut short.

    Example: onedpiece bulk photos tokens --tokens 64
    """
    if len(places) < 2:
        raise ValueError("give what is to be read, and the folder for the shards: onedpiece bulk IN... OUT")
    *inputs, out = places
    from onedpiece.bulk import run
    from onedpiece.bulk.options import SHARD_SIZE, Cluster, DecodeOptions, EncodeOptions
    from onedpiece.bulk.units import Columns
    from onedpiece.rate.target import RateTarget

    cluster = Cluster(address, concurrency, num_gpus, batch)
    target = RateTarget(tokens, max_bytes, bpp, psnr, ssim, lpips)
    with _shown() as screen:
        if decode:
            if not target.is_count or crops or score or best_effort:
                raise ValueError("--decode takes --tokens and --sharpness; other targets are for encoding")
            options = DecodeOptions(tokens, sharpness, _ending(to or "png"))
            summary = run.decode(
                inputs, out, options, model=model, cluster=cluster, overwrite=overwrite, tell=screen.tell
            )
        else:
            if sharpness is not None:
                raise ValueError("--sharpness is for --decode: it is the decoder's, not the tokens'")
            summary = run.tokenize(
                inputs,
                out,
                EncodeOptions(target, best_effort, crops, _metric(score), _layout(to or "parquet")),
                model=model,
                columns=Columns(column, key),
                shard_size=SHARD_SIZE if shard_size is None else shard_size,
                cluster=cluster,
                overwrite=overwrite,
                tell=screen.tell,
                note=screen.note,
            )
    _end(summary, out, as_json=as_json)


def _layout(name: str) -> "Layout":
    if name not in _LAYOUTS:
        raise ValueError(f"--to is {name!r}; choose one of {', '.join(_LAYOUTS)}")
    return _LAYOUTS[name]


def _metric(name: str | None) -> str | None:
    from onedpiece.metrics.descriptors import TARGET_METRICS

    if name is not None and name not in TARGET_METRICS:
        raise ValueError(f"--score is {name!r}; choose one of {', '.join(TARGET_METRICS)}")
    return name


def _ending(name: str) -> str:
    endings = ("png", "jpg", "webp", "avif")
    if name not in endings:
        raise ValueError(f"--to is {name!r}; with --decode, choose one of {', '.join(endings)}")
    return f".{name}"


class _Screen:
    """What the terminal shows: a bar with its speed, and the first failures a line each."""

    def __init__(self) -> None:
        self.move: Callable[[int, int], None] = no_progress
        self._speed, self._errors, self._told = 0.0, 0, 0

    def text(self) -> str:
        """Return what stands in front of the bar."""
        failures = f", {self._errors} failed" if self._errors else ""
        return f"{self._speed:.1f} pictures/s{failures}" if self._speed else "Starting Ray"

    def note(self, line: str) -> None:
        """Say what is odd about an input."""
        sys.stderr.write(f"onedpiece: {printable(line)}\n")

    def tell(self, progress: "Progress") -> None:
        """Show how far the run is."""
        self._speed, self._errors = progress.per_second, progress.errors
        if progress.record is not None:
            for key, error in progress.record.failures[: _SHOWN - self._told]:
                self._told += 1
                self.note(f"{key}: {error}")
        self.move(progress.done, progress.total)


@contextmanager
def _shown() -> Iterator[_Screen]:
    """Give a screen, and keep from both streams what Ray says on its own."""
    screen = _Screen()
    debug = os.environ.get("ONEDPIECE_DEBUG")
    nowhere = sys.stderr if debug else Path(os.devnull).open("w")  # noqa: SIM115 (Ray's threads outlive it)
    # Ray prints what befell workers to standard output, which is for our record alone.
    with _native_messages_aside(), redirect_stdout(nowhere), progress_bar(screen.text) as move:
        screen.move = move
        yield screen


@contextmanager
def _native_messages_aside() -> Iterator[None]:
    """Let Python's standard error go on to where it went, and what C++ writes there go nowhere."""
    if os.environ.get("ONEDPIECE_DEBUG") or not _is_real(sys.stderr):
        yield
        return
    sys.stderr.flush()
    ours, kept = sys.stderr, os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    sys.stderr = os.fdopen(os.dup(kept), "w", buffering=1, errors="backslashreplace")
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = ours
        os.dup2(kept, 2)
        os.close(kept)


def _is_real(stream: object) -> bool:
    try:
        return stream.fileno() == 2  # type: ignore[attr-defined, no-any-return]
    except (AttributeError, OSError, ValueError):
        return False


def _counted(shards: int) -> str:
    return "1 shard" if shards == 1 else f"{shards} shards"


def _end(summary: "Summary", out: str, *, as_json: bool) -> None:
    counts = summary.counts
    if as_json:
        record = {"out": out, **counts, **asdict(summary), "per_second": summary.per_second}
        say(json.dumps({name: value for name, value in record.items() if name != "counts"}))
    else:
        rows, new = counts["rows"], summary.new_pictures
        speed = f"{new} new at {summary.per_second:.1f} a second" if new else "all were there before"
        say(
            printable(
                f"{out}: {rows} rows of {counts['pictures']} pictures in {_counted(summary.shards)}, "
                f"{counts['errors']} of them failed; {speed}"
            )
        )
    if counts["errors"] == counts["rows"]:
        raise typer.Exit(FAILED)
