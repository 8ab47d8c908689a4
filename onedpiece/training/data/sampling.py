"""Endless training batches of bytes, from memory or from files, and which pictures stand in which.

Both depend on names and numbers only: a resumed run draws what the first would have.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import count, islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from onedpiece.training.data.files import Member, decode


class Place(NamedTuple):
    """This process among those that train together."""

    rank: int = 0
    world: int = 1


ALONE = Place()


def batch_rows(number: int, rows: int, batch: int, seed: int, place: Place = ALONE) -> Tensor:
    """Return the rows of batch `number`: a walk through one shuffle of the set after the other.

    Every row is drawn once before any is drawn again; a batch may reach over the border of two shuffles.

    Args:
        number: the batch's number since the run began, from 0.
        rows: size of the set.
        batch: rows a batch and process.
        seed: of the shuffles.
        place: processes with another rank get other rows.

    Returns:
        (batch,) int64, in [0, rows).
    """
    first = (number * place.world + place.rank) * batch
    last_epoch = (first + batch - 1) // rows
    shuffles = [_shuffle(epoch, rows, seed) for epoch in range(first // rows, last_epoch + 1)]
    offset = first % rows
    return torch.cat(shuffles)[offset : offset + batch]


@lru_cache(maxsize=4)
def _shuffle(epoch: int, rows: int, seed: int) -> Tensor:
    return torch.randperm(rows, generator=generator_for("cpu", "shuffle", seed, epoch))


def endless_rows(start: int, rows: int, batch: int, seed: int, place: Place = ALONE) -> Iterator[Tensor]:
    """Yield the rows of batch `start`, `start + 1`, … for ever (see `batch_rows`)."""
    for number in count(start):
        yield batch_rows(number, rows, batch, seed, place)


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


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed from `parts`; different parts give unrelated seeds."""
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator_for(device: torch.device | str, *parts: int | str) -> torch.Generator:
    """Return a fresh generator on `device`, seeded by `parts` (see `derive_seed`)."""
    return torch.Generator(device=device).manual_seed(derive_seed(*parts))
