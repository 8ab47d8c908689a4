"""Endless training batches of bytes, from memory or from files."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from onedpiece.training.data.decode import decode
from onedpiece.training.data.members import Member
from onedpiece.training.data.order import Place, endless_rows


class ResidentBatches:
    """Endless batches out of one tensor that stays on its device: no workers, no copies from the host.

    Args:
        pixels: (N, 3, S, S) uint8, on the device that trains.
        rows: (M,) int64, which pictures to draw from.
        batch: pictures a batch.
        seed: of the order (see `batch_rows`).
        start: number of the first batch.
        place: this process.
    """

    def __init__(self, pixels: Tensor, rows: Tensor, batch: int, seed: int, start: int, place: Place) -> None:
        self.pixels = pixels
        self.rows = rows
        self._numbers = (start, len(rows), batch, seed, place)

    def __iter__(self) -> Iterator[Tensor]:
        for chosen in endless_rows(*self._numbers):
            yield self.pixels[self.rows[chosen].to(self.pixels.device)]


class StreamedBatches(IterableDataset[Tensor]):
    """Endless batches decoded from files as they are needed; worker w of W makes every W-th batch.

    Args:
        members: the pictures to draw from.
        size: side of a picture in pixels.
        batch: pictures a batch.
        seed: of the order (see `batch_rows`).
        start: number of the first batch.
        place: this process.
    """

    def __init__(
        self, members: Sequence[Member], size: int, batch: int, seed: int, start: int, place: Place
    ) -> None:
        self.members = members
        self.size = size
        self._numbers = (start, len(members), batch, seed, place)

    def __iter__(self) -> Iterator[Tensor]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        for rows in islice(endless_rows(*self._numbers), worker, None, workers):
            yield decode_batch([self.members[int(row)] for row in rows], self.size)


def decode_batch(members: Sequence[Member], size: int) -> Tensor:
    """Decode pictures into (B, 3, size, size) uint8."""
    return torch.from_numpy(np.stack([decode(member, size) for member in members]))


def streamed_loader(batches: StreamedBatches, workers: int) -> DataLoader[Tensor]:
    """Return a loader whose `workers` processes decode ahead; 0 decodes in this process."""
    return DataLoader(batches, batch_size=None, num_workers=workers, persistent_workers=workers > 0)


class FixedBatches:
    """A few batches, the same every time; no list, which the trainer would take for several loaders."""

    def __init__(self, batches: Sequence[Tensor]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)
