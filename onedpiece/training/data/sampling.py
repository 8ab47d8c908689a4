"""Endless training batches of bytes, from memory or from files, and which pictures stand in which.

Both depend on names and numbers only: a resumed run draws what the first would have.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import count, islice
from random import Random
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from onedpiece.errors import PictureError
from onedpiece.training.data.files import CENTRE, Member, OnError, decode

log = logging.getLogger(__name__)

Batch = TypeVar("Batch")


class Place(NamedTuple):
    """This process among those that train together."""

    rank: int = 0
    world: int = 1


ALONE = Place()


def check_least(least: int, **options: int) -> None:
    """Raise ValueError, which names it, if an option of a data module is below `least`."""
    for name, value in options.items():
        if value < least:
            raise ValueError(f"the data's {name} is {value}; give {least} or more")


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


class EndlessBatches(Generic[Batch]):
    """Endless batches out of a set in memory: no workers, no copies from the host.

    Args:
        take: makes a batch of rows, (B,) int64.
        rows: size of the set.
        batch: rows a batch.
        seed: of the order (see `batch_rows`).
        start: number of the first batch.
        place: this process.
    """

    def __init__(
        self,
        take: Callable[[Tensor], Batch],
        rows: int,
        batch: int,
        seed: int,
        start: int = 0,
        place: Place = ALONE,
    ) -> None:
        self.take = take
        self._order = (start, rows, batch, seed, place)

    def __iter__(self) -> Iterator[Batch]:
        return map(self.take, endless_rows(*self._order))


class OrderedBatches(Generic[Batch]):
    """A set once, in order; no list, which the trainer would take for several loaders.

    Args:
        take: makes a batch of rows, (B,) int64.
        rows: (R,) int64, which to take.
        batch: rows a batch; the last may have fewer.
    """

    def __init__(self, take: Callable[[Tensor], Batch], rows: Tensor, batch: int) -> None:
        self.take = take
        self._chunks: tuple[Tensor, ...] = torch.split(rows, batch) if len(rows) else ()

    def __iter__(self) -> Iterator[Batch]:
        return map(self.take, self._chunks)

    def __len__(self) -> int:
        return len(self._chunks)


class Labelled(NamedTuple):
    """A batch.

    Attributes:
        x: (B, 3, S, S), uint8 as loaded, float32 in [0, 1] on its way into a network.
        target: (B,) int64; float32 (B, classes) where labels were mixed.
    """

    x: Tensor
    target: Tensor

    def take(self, rows: Tensor) -> "Labelled":
        """Return the samples of some rows, (R,) int64."""
        return Labelled(self.x[rows], self.target[rows])


class StreamedBatches(IterableDataset[Tensor | Labelled | PictureError]):
    """Endless batches decoded from files as they are needed; worker w of W makes every W-th batch.

    Args:
        members: the pictures to draw from.
        size: side of a picture in pixels.
        batch: pictures a batch.
        seed: of the order (see `batch_rows`).
        start: number of the first batch.
        place: this process.
        on_error: of a picture that cannot be read; `skip` takes the next one of the set in its place.
        random_crop: cut the square out of the scaled picture at random; False: its centre.
        target: (R,) int64, the members' labels; None: batches are of pixels alone.
        transform: changes a decoded picture (3, size, size) as a seed says; None: nothing does.

    Raises:
        PictureError: on iteration, as `on_error` says. A worker yields it in place of a batch: raised there,
            its traceback would become part of the message (see `StreamedLoader`).
    """

    def __init__(
        self,
        members: Sequence[Member],
        size: int,
        batch: int,
        seed: int,
        start: int,
        place: Place,
        on_error: OnError = "stop",
        random_crop: bool = False,
        target: Tensor | None = None,
        transform: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]] | None = None,
    ) -> None:
        self.members, self.size, self.on_error, self.random_crop = members, size, on_error, random_crop
        self.target, self.transform = target, transform
        self.batch, self.seed, self.start, self.place = batch, seed, start, place

    def __iter__(self) -> Iterator[Tensor | Labelled | PictureError]:
        try:
            yield from self._batches()
        except PictureError as error:
            if get_worker_info() is None:
                raise
            yield error

    def _batches(self) -> Iterator[Tensor | Labelled]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        every = endless_rows(self.start, len(self.members), self.batch, self.seed, self.place)
        for number, rows in islice(enumerate(every, self.start), worker, None, workers):
            draw = Random(derive_seed("crop", self.seed, self.place.rank, number))
            squares = [(draw.random(), draw.random()) if self.random_crop else CENTRE for _ in rows]
            decoded = [self._decode(row, where) for row, where in zip(rows.tolist(), squares, strict=True)]
            pictures = [picture for picture, _ in decoded]
            if self.transform is not None:
                pictures = [self.transform(picture, draw.getrandbits(63)) for picture in pictures]
            pixels = torch.from_numpy(np.stack(pictures))
            taken = torch.tensor([row for _, row in decoded])
            yield pixels if self.target is None else Labelled(pixels, self.target[taken])

    def _decode(self, row: int, where: tuple[float, float]) -> tuple[NDArray[np.uint8], int]:
        """The picture of a row, or of the first one behind it that can be read, and which that is."""
        for other in range(len(self.members)):
            taken = (row + other) % len(self.members)
            try:
                return decode(self.members[taken], self.size, where), taken
            except PictureError as error:
                if self.on_error == "stop":
                    raise
                log.warning("left out: %s", error)
        raise PictureError(f"none of {len(self.members)} pictures can be read")


class DecodedBatch(NamedTuple):
    """Pictures that could be read.

    Attributes:
        pixels: (B, 3, size, size) uint8.
        positions: (B,) int64, of each in the list that was to be decoded.
    """

    pixels: Tensor
    positions: Tensor


def decode_batch(members: Sequence[Member], size: int, on_error: OnError = "stop") -> DecodedBatch:
    """Decode pictures; with `skip`, leave out those that cannot be read.

    Raises:
        PictureError: one cannot be read, and `on_error` is `stop`; or none can.
    """
    pictures, positions = [], []
    for position, member in enumerate(members):
        try:
            pictures.append(decode(member, size))
            positions.append(position)
        except PictureError as error:
            if on_error == "stop":
                raise
            log.warning("left out: %s", error)
    if not pictures:
        raise PictureError(f"none of {len(members)} pictures can be read; the first is {members[0].key}")
    return DecodedBatch(torch.from_numpy(np.stack(pictures)), torch.tensor(positions))


class StreamedLoader:
    """Decodes ahead in `workers` processes, or with 0 in this one, and raises what ended a worker's stream.

    Args:
        batches: what is decoded.
        workers: how many processes.
    """

    def __init__(self, batches: StreamedBatches, workers: int) -> None:
        self._loader = DataLoader(
            batches, batch_size=None, num_workers=workers, persistent_workers=workers > 0
        )

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            if isinstance(batch, PictureError):
                raise batch
            yield batch


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed from `parts`; different parts give unrelated seeds."""
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator_for(device: torch.device | str, *parts: int | str) -> torch.Generator:
    """Return a fresh generator on `device`, seeded by `parts` (see `derive_seed`)."""
    return torch.Generator(device=device).manual_seed(derive_seed(*parts))
