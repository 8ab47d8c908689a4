"""Throw damaged pictures of every format that Pillow writes at the one reader: named errors only, and soon.

    python -m tools.fuzz_pictures --count 20000 --workers 2    # minutes; status 1 and the file on failure

HEIC and JPEG XL take part where their packages are installed. Input N of a seed is the same in every run:
`--only N --keep FILE` writes it for a look. A failing input goes into tests/codec as a case of its own.
"""

import argparse
import faulthandler
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from io import BytesIO
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from PIL import Image, ImageCms

from onedpiece.codec.images import ORIENTATION, read_picture, register_plugins
from onedpiece.errors import PictureError

MAX_SECONDS = 2.0
"""Of processor time, for one input."""

MAX_ALLOCATED = 500 * 2**20
"""Bytes by which one input may raise the process's peak of resident memory."""

_PNG = b"\x89PNG\r\n\x1a\n"
WIDTH, HEIGHT = 52, 37  # no multiple of a block's side, nor of each other
CHUNK = 100  # inputs that a process takes at once

MODES = ("RGB", "L", "RGBA", "LA", "P", "PA", "1", "CMYK", "I;16", "I", "F", "YCbCr", "LAB", "La", "RGBa")
OPTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "JPEG": ({"progressive": True}, {"quality": 95, "subsampling": 0, "optimize": True}, {"restart": 2}),
    "PNG": ({"bits": 2}, {"compress_level": 0}, {"gamma": 1.0}),
    "TIFF": tuple(
        {"compression": name}
        for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4", "zstd", "lzma")
    ),
    "WEBP": ({"lossless": True}, {"quality": 20}),
    "GIF": ({"interlace": False},),
    "TGA": ({"compression": "tga_rle"},),
    "JPEG2000": ({"irreversible": True}, {"tile_size": (16, 16)}),
    "JXL": ({"lossless": True}, {"quality": 20}),
    "DDS": ({"pixel_format": "DXT1"}, {"pixel_format": "DXT5"}, {"pixel_format": "BC5"}),
}

TIFF_MODES = {"jpeg": ("L", "RGB", "CMYK", "YCbCr"), "group4": ("1",)}
"""Which modes these compressions take: when libtiff refuses one, Pillow 12.3 corrupts its memory."""


class Input(NamedTuple):
    """A damaged file, and the format that it was."""

    kind: str
    data: bytes


class Outcome(NamedTuple):
    """What became of an input: "read" or the error's name, seconds of processor time, bytes of memory."""

    number: int
    kind: str
    verdict: str
    seconds: float
    allocated: int
    failure: str = ""


@cache
def seeds() -> dict[str, list[bytes]]:
    """Return by format the valid files to damage: modes, options, metadata, several frames."""
    register_plugins()
    Image.init()
    found: dict[str, list[bytes]] = {}
    for kind in sorted(set(Image.SAVE) - {"ODP"}):  # ours, which a network decodes
        files = [_saved(picture, kind, **options) for picture, options in _variants(kind)]
        found[kind] = [file for file in files if file is not None]
    return {kind: files for kind, files in found.items() if files}


def _variants(kind: str) -> Iterator[tuple[Image.Image, dict[str, Any]]]:
    pictures = list(_pictures())
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for picture in pictures:
        yield picture, {}
    for options in OPTIONS.get(kind, ()):
        for picture in pictures:
            if picture.mode in TIFF_MODES.get(options.get("compression", ""), MODES):
                yield picture, options
    yield pictures[0], {"exif": exif.tobytes(), "icc_profile": profile}
    if kind in Image.SAVE_ALL:
        yield pictures[0], {"save_all": True, "append_images": pictures[:2]}


def _pictures() -> Iterator[Image.Image]:
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 220, WIDTH * HEIGHT * 3).reshape(HEIGHT, WIDTH, 3)
    colours = Image.fromarray((ramp + random.integers(0, 35, ramp.shape)).astype(np.uint8))
    for mode in MODES:
        yield _in_mode(colours, mode)


def _in_mode(colours: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(colours.convert("L")).astype(np.uint16) * 257)
    if mode in ("PA", "La", "RGBa"):
        return colours.convert({"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    if mode == "LAB":
        return Image.new("LAB", colours.size, (120, 100, 140))
    return colours.convert(mode)


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes | None:
    file = BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture.save(file, kind, **options)
    except Exception:  # not every format takes every mode and option
        return None
    return file.getvalue()


def damaged(number: int, seed: int) -> Input:
    """Return input `number` of a seed; formats take turns."""
    random = np.random.default_rng((seed, number))
    kinds = list(seeds())
    kind = kinds[number % len(kinds)]
    files = seeds()[kind]
    return Input(kind, _damage(files[int(random.integers(0, len(files)))], random))


def _damage(data: bytes, random: np.random.Generator) -> bytes:
    """Return `data` cut short, or with one to six changes, most of them where headers are."""
    if random.random() < 0.2:
        return data[: int(random.integers(0, len(data)))]
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 7))):
        reach = len(changed) if random.random() < 0.4 else min(len(changed), 128)
        at = int(random.integers(0, reach)) if reach else 0
        kind = random.integers(0, 7)
        if kind == 0 and changed:
            changed[at] ^= 1 << int(random.integers(0, 8))
        elif kind == 1 and changed:
            changed[at] = int(random.choice([0, 1, 0x7F, 0x80, 0xFF, int(random.integers(0, 256))]))
        elif kind == 2:
            changed[at : at + 4] = _number(random)
        elif kind == 3:
            changed[at:at] = random.bytes(int(random.integers(1, 9)))
        elif kind == 4:
            del changed[at : at + int(random.integers(1, 9))]
        elif kind == 5:
            changed[at:] = changed[at:] * 2
        else:
            changed[at : at + 16] = random.bytes(16)
    return _summed(bytes(changed)) if random.random() < 0.5 else bytes(changed)


def _summed(data: bytes) -> bytes:
    """Return a PNG with the checksums that its chunks ask for, so that damage gets past them."""
    start = data.find(_PNG)
    if start < 0:
        return data
    changed, at = bytearray(data), start + len(_PNG)
    while at + 12 <= len(changed):
        end = at + 8 + int.from_bytes(changed[at : at + 4], "big")
        changed[end : end + 4] = crc32(changed[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(changed)


def _number(random: np.random.Generator) -> bytes:
    """A size, count or offset as a header may state it, in either byte order."""
    value = int(random.choice([0, 1, 1000, 10_000, 65_535, 1 << 20, (1 << 31) - 1, (1 << 32) - 1]))
    return value.to_bytes(4, "big" if random.random() < 0.5 else "little")


def check(number: int, seed: int) -> Outcome:
    """Read one input, and measure; `failure` says what must not happen."""
    kind, data = damaged(number, seed)
    before, start = _reset_peak(), time.process_time()
    failure = ""
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            verdict = f"read {read_picture(BytesIO(data)).mode}"
    except PictureError as error:
        verdict = type(error).__name__
        failure = "" if "\n" not in str(error) else "more than one line"
    except Exception as error:
        verdict = type(error).__name__
        failure = f"{verdict}: {error}"
    seconds, allocated = time.process_time() - start, max(0, _peak() - before)
    foreign = [str(each.message) for each in said if "/PIL/" in each.filename]
    if foreign:
        failure = f"warned: {foreign[0]}"
    if seconds > MAX_SECONDS:
        failure = f"took {seconds:.1f} s"
    if allocated > MAX_ALLOCATED:
        failure = f"took {allocated / 2**20:.0f} MiB"
    return Outcome(number, kind, verdict, seconds, allocated, failure)


def _check_all(numbers: Iterable[int], seed: int) -> list[Outcome]:
    faulthandler.enable()
    return [check(number, seed) for number in numbers]


def _reset_peak() -> int:
    """Let Linux forget the peak, and return what is resident now, in bytes; 0 where it cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return _peak()


def _peak() -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def run(count: int, seed: int, workers: int) -> list[Outcome]:
    """Check the inputs 0 to `count` - 1; 0 workers: in this process.

    Raises:
        BrokenProcessPool: an input crashed its process, or used up the machine's memory.
    """
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    if not workers:
        return [outcome for chunk in chunks for outcome in _check_all(chunk, seed)]
    # "spawn": each process's memory is its own, to measure.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return [outcome for found in pool.map(_check_all, chunks, repeat(seed)) for outcome in found]


def summary(outcomes: list[Outcome]) -> str:
    """Return a line a format, and the slowest and largest inputs."""
    lines = []
    for kind in sorted({outcome.kind for outcome in outcomes}):
        of_kind = Counter(outcome.verdict for outcome in outcomes if outcome.kind == kind)
        lines.append(f"{kind:9} " + ", ".join(f"{name} {times}" for name, times in of_kind.most_common()))
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    largest = max(outcomes, key=lambda outcome: outcome.allocated)
    lines.append(
        f"slowest {slowest.seconds:.2f} s (input {slowest.number}, {slowest.kind}), "
        f"most memory {largest.allocated / 2**20:.0f} MiB (input {largest.number}, {largest.kind}), "
        f"{len(outcomes)} inputs"
    )
    return "\n".join(lines)


def main() -> int:
    """Run, print a summary, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: this one alone")
    parser.add_argument("--only", type=int, metavar="N", help="this input and no other")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="with --only: write it there")
    asked = parser.parse_args()
    if asked.only is not None:
        if asked.keep:
            asked.keep.write_bytes(damaged(asked.only, asked.seed).data)
        outcomes = [check(asked.only, asked.seed)]
    else:
        try:
            outcomes = run(asked.count, asked.seed, asked.workers)
        except BrokenProcessPool:
            print("FAILED: an input crashed its process; see the trace above", file=sys.stderr)
            return 1
    print(summary(outcomes))
    failed = [outcome for outcome in outcomes if outcome.failure]
    for outcome in failed:
        print(f"FAILED input {outcome.number}, {outcome.kind}: {outcome.failure}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
