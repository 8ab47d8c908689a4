"""A whole set of pictures decoded once, into one array on disk that later starts only map."""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onedpiece.training.data.files import Member, decode

_CHUNK = 256  # pictures a task: large enough that starting one costs nothing


def decoded(members: Sequence[Member], size: int, folder: str | Path, processes: int) -> NDArray[np.uint8]:
    """Return all pictures decoded, reading the cache in `folder` or writing it first.

    Args:
        members: the pictures.
        size: side of each in pixels.
        folder: where the cache is kept; made when it is not there.
        processes: how many decode at once; 0 decodes in this process.

    Returns:
        (N, 3, size, size), mapped copy-on-write from the cache.
    """
    path = Path(folder) / f"{cache_name(members, size)}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.stem}.{os.getpid()}.partial")
        _write(members, size, partial, processes)
        partial.rename(path)
    array: NDArray[np.uint8] = np.load(path, mmap_mode="c")
    return array


def cache_name(members: Sequence[Member], size: int) -> str:
    """Return a name that changes with the pictures, their files or the size."""
    digest = sha256(f"{size}".encode())
    stamps = {path: path.stat().st_mtime_ns for path in {member.path for member in members}}
    for member in members:
        digest.update(
            f"{member.path.resolve()}|{stamps[member.path]}|{member.offset}|{member.size}\n".encode()
        )
    return f"images-{len(members)}x{size}-{digest.hexdigest()[:12]}"


def _write(members: Sequence[Member], size: int, path: Path, processes: int) -> None:
    shape = (len(members), 3, size, size)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
    starts = range(0, len(members), _CHUNK)
    chunks = [list(members[start : start + _CHUNK]) for start in starts]
    if processes == 0:
        for start, chunk in zip(starts, chunks, strict=True):
            _fill(path, start, chunk, size)
        return
    # "spawn": a fork of a process that holds an accelerator or threads may hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(_fill, repeat(path), starts, chunks, repeat(size)))


def _fill(path: Path, start: int, members: Sequence[Member], size: int) -> None:
    array = np.lib.format.open_memmap(path, mode="r+")
    for i, member in enumerate(members):
        array[start + i] = decode(member, size)
