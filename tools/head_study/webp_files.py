"""WebP files of a cache's photos, of as many bytes as our own files of them: made once, kept as Parquet.

A file of a few hundred bytes is kept as it is, and decoded when it is needed. Parts of a killed run are kept,
and so is all that there is when more photos are asked for.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from onedpiece._files import atomic_path
from onedpiece._progress import progress_bar
from onedpiece.codes import pyarrow
from onedpiece.evaluation.baselines import start_executor
from onedpiece.training.augment import to_unit
from onedpiece.training.codes.cache_file import read_metadata
from tools.head_study.coded import Coder, best_webp_file, webp_pixels

PART = 128  # files that a killed run loses
_DECODED = 256  # pictures at once


class Job(NamedTuple):
    """One file to be: which row of the cache it shows, and as many bytes as how many of our tokens have."""

    row: int
    tokens: int


class Files(NamedTuple):
    """Files in the order of their jobs.

    Attributes:
        jobs: what each shows.
        data: the files; empty where none is small enough.
        budgets: (F,) int64, the bytes that each was allowed: those of our own file.
    """

    jobs: Sequence[Job]
    data: Sequence[bytes]
    budgets: NDArray[np.int64]


@dataclass(frozen=True)
class WebpFiles:
    """The WebP files of one cache.

    Args:
        folder: where they are kept, below the names of the cache's rows.
        coder: gives photos and our files' sizes.
        workers: processes that look for the best files; None: all cores.
    """

    folder: Path
    coder: Coder
    workers: int | None = None

    def files(self, name: str, jobs: Sequence[Job]) -> Files:
        """Return the files of jobs, from disk as far as they are there.

        Args:
            name: of the folder for these jobs; longer lists of jobs begin with the shorter ones.
            jobs: what is wanted.
        """
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        starts = range(0, len(jobs), PART)
        missing = [at for at in starts if _kept(_path(folder, at), len(jobs[at : at + PART])) is None]
        count = sum(len(jobs[at : at + PART]) for at in missing)
        with progress_bar(f"WebP {name}") as progress, start_executor(count, self.workers) as pool:
            for done, at in enumerate(missing):
                progress(done * PART, count)
                self._make(_path(folder, at), jobs[at : at + PART], pool)
        data: list[bytes] = []
        for at in starts:
            data += _kept(_path(folder, at), len(jobs[at : at + PART])) or []
        budgets = np.array([self.coder.file_bytes(*job) for job in jobs], np.int64)
        return Files(jobs, data, budgets)

    def _make(self, path: Path, jobs: Sequence[Job], pool: Executor) -> None:
        pa, parquet = pyarrow()
        images = [self.coder.picture(job.row) for job in jobs]
        budgets = [self.coder.file_bytes(*job) for job in jobs]
        data = list(pool.map(best_webp_file, images, budgets))
        with atomic_path(path) as partial:
            parquet.write_table(pa.table({"data": pa.array(data, pa.binary())}), partial)


def _path(folder: Path, start: int) -> Path:
    return folder / f"{start:06d}.parquet"


def _kept(path: Path, count: int) -> list[bytes] | None:
    """Return a part's first files; None where it is not there, or was made for fewer photos."""
    _, parquet = pyarrow()
    if not path.exists():
        return None
    kept: list[bytes] = parquet.read_table(path)["data"].to_pylist()
    return kept[:count] if len(kept) >= count else None


def rows_name(cache: Path, split: str, variants: Sequence[str]) -> str:
    """Return a name for these rows, another one for another cache."""
    metadata = read_metadata(cache)
    return f"{cache.stem}-{metadata.code_space}-{metadata.digest}-{split}-{'-'.join(variants)}"


def training_jobs(rows: int, limit: int | None, seed: int, counts: Sequence[int]) -> list[Job]:
    """Return rows in random order, each with a random token count; a smaller limit takes the first."""
    random = np.random.default_rng(seed)
    order, drawn = random.permutation(rows), random.choice(np.asarray(counts), rows)
    return [Job(int(row), int(count)) for row, count in zip(order[:limit], drawn[:limit], strict=True)]


def decoded(data: Sequence[bytes], size: int, side: int) -> Tensor:
    """Decode files as a network is shown them.

    Args:
        data: the files.
        size: side of the picture that they show, in pixels.
        side: of what the network sees, at most as large.

    Returns:
        (F, 3, side, side) float32 in [0, 1].
    """
    parts = [torch.empty(0, 3, side, side)]
    for start in range(0, len(data), _DECODED):
        pixels = np.stack([webp_pixels(each, (size, size)) for each in data[start : start + _DECODED]])
        whole = to_unit(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        parts.append(F.interpolate(whole, (side, side), mode="bilinear", antialias=True))
    return torch.cat(parts)
