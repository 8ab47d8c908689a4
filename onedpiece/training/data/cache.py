"""A whole set of pictures decoded once, into one array on disk that later starts only map."""

import logging
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onedpiece._files import atomic_path, atomic_write_text
from onedpiece.errors import PictureError
from onedpiece.training.data.files import Member, OnError, decode

log = logging.getLogger(__name__)

_CHUNK = 256  # pictures a task: large enough that starting one costs nothing


class DecodedSet(NamedTuple):
    """A set of pictures in memory or on disk.

    Attributes:
        pixels: (N, 3, size, size), mapped copy-on-write from the cache.
        skipped: rows that hold no picture, since theirs could not be read.
    """

    pixels: NDArray[np.uint8]
    skipped: tuple[int, ...]


def decoded(
    members: Sequence[Member], size: int, folder: str | Path, processes: int, on_error: OnError = "stop"
) -> DecodedSet:
    """Return all pictures decoded, reading the cache in `folder` or writing it first.

    Args:
        members: the pictures.
        size: side of each in pixels.
        folder: where the cache is kept; made when it is not there.
        processes: how many decode at once; 0 decodes in this process.
        on_error: of a picture that cannot be read.

    Raises:
        PictureError: a picture cannot be read, and `on_error` is `stop`; or none can.
        ValueError: the disk has no room for the set.
    """
    path = Path(folder) / f"{cache_name(members, size)}.npy"
    skipped = path.with_suffix(".skipped")
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_room(len(members) * 3 * size**2, path.parent)
        with atomic_path(path) as partial:
            bad = _write(members, size, partial, processes)
            for message in bad.values():
                log.warning("left out: %s", message)
            if bad and on_error == "stop":
                raise PictureError(next(iter(bad.values())))
            skipped.unlink(missing_ok=True)  # of a run that was killed before its set was whole
            if bad:
                atomic_write_text(skipped, "\n".join(str(row) for row in bad))
    rows = tuple(int(row) for row in skipped.read_text().split()) if skipped.is_file() else ()
    if rows and on_error == "stop":
        raise PictureError(f"{path} lacks {len(rows)} pictures that could not be read; set on_error to skip")
    if len(rows) == len(members):
        raise PictureError(f"none of {len(members)} pictures can be read; the first is {members[0].key}")
    if rows:
        log.warning("%d of %d pictures could not be read and are left out", len(rows), len(members))
    return DecodedSet(np.load(path, mmap_mode="c"), rows)


def _check_room(size: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ValueError(
            f"the decoded set takes {size / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB left; set "
            "data.init_args.mode to stream, or cache to a folder with more room"
        )


def cache_name(members: Sequence[Member], size: int) -> str:
    """Return a name that changes with the pictures, their files or the size."""
    digest = sha256(f"{size}".encode())
    stamps = {path: path.stat().st_mtime_ns for path in {member.path for member in members}}
    for member in members:
        digest.update(
            f"{member.path.resolve()}|{stamps[member.path]}|{member.offset}|{member.size}\n".encode()
        )
    return f"images-{len(members)}x{size}-{digest.hexdigest()[:12]}"


def _write(members: Sequence[Member], size: int, path: Path, processes: int) -> dict[int, str]:
    """Decode into `path`, and return why by row of each picture that could not be read."""
    shape = (len(members), 3, size, size)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
    starts = range(0, len(members), _CHUNK)
    chunks = [list(members[start : start + _CHUNK]) for start in starts]
    work = (repeat(path), starts, chunks, repeat(size))
    if processes == 0:
        return {row: why for bad in map(_fill, *work) for row, why in bad.items()}
    # "spawn": a fork of a process that holds an accelerator or threads may hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return {row: why for bad in pool.map(_fill, *work) for row, why in bad.items()}


def _fill(path: Path, start: int, members: Sequence[Member], size: int) -> dict[int, str]:
    array = np.lib.format.open_memmap(path, mode="r+")
    bad = {}
    for row, member in enumerate(members, start):
        try:
            array[row] = decode(member, size)
        except PictureError as error:
            bad[row] = str(error)
    return bad
