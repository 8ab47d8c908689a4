"""Which pictures stand in which batch, as a function of the batch's number alone."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor

from onedpiece.training.seeds import generator_for


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
