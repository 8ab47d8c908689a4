"""Readers of shards: what each of several processes and workers draws, decodes, skips, and where it is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from onedpiece._files import one_line
from onedpiece.errors import OnedpieceError, PictureError, ShardError
from onedpiece.training.data.files import CENTRE, OnError, is_held_out, square
from onedpiece.training.data.sampling import Place, derive_seed
from onedpiece.training.data.sources import EncodedPicture, StreamSource


class Position(NamedTuple):
    """How far one reader is: the pass over the shards, and how many pictures of it were drawn."""

    epoch: int = 0
    drawn: int = 0


class LeftOut(NamedTuple):
    """How many pictures and shards could not be read, and why: each fault once."""

    pictures: int = 0
    shards: int = 0
    reasons: tuple[str, ...] = ()

    def __add__(self, other: object) -> "LeftOut":
        assert isinstance(other, LeftOut)
        # A loader makes lists of tuples on the way.
        reasons = tuple(dict.fromkeys([*self.reasons, *other.reasons]))
        return LeftOut(self.pictures + other.pictures, self.shards + other.shards, reasons)


class StreamedBatch(NamedTuple):
    """A batch on its way from a reader.

    Attributes:
        pixels: (B, 3, S, S) uint8.
        reader: which of all readers made it.
        position: of that reader behind the batch.
        left_out: since its last batch.
        error: what ended the stream in place of a batch; "" for none. Raised by a worker, its traceback would
            become part of the message.
    """

    pixels: Tensor
    reader: int
    position: Position
    left_out: LeftOut
    error: str = ""


@dataclass(frozen=True)
class StreamConfig:
    """How pictures are drawn from a source.

    Attributes:
        size: side of the pixels.
        batch: pictures a batch and process.
        shuffle: pictures that a reader holds encoded, to draw the next one from; 0: in order.
        seed: of the order and of the crops.
        val_share: held out by the hash of the key, as in `PhotoData`.
        random_crop: where the square lies in the picture whose short side is `size`; False: centre.
        on_error: what a picture that cannot be read does: stop the run, or be left out.

    Raises:
        ValueError: on construction, a number out of range.
    """

    size: int = 256
    batch: int = 32
    shuffle: int = 1000
    seed: int = 0
    val_share: float = 0.01
    random_crop: bool = True
    on_error: OnError = "stop"

    def __post_init__(self) -> None:
        if self.size < 1 or self.batch < 1 or self.shuffle < 0 or not 0 <= self.val_share < 1:
            raise ValueError(
                f"data needs size ≥ 1, batch ≥ 1, shuffle ≥ 0 and 0 ≤ val_share < 1; got size {self.size}, "
                f"batch {self.batch}, shuffle {self.shuffle}, val_share {self.val_share}"
            )


class Reader:
    """Endless training pictures of one of several readers, which together pass over the set again and again.

    With at least as many shards as readers each reads its own shards, other ones in every pass; with fewer,
    each reads all and takes its share of the pictures. The order follows from seed, pass and reader.

    Args:
        source: the shards.
        config: how they are drawn.
        number: of this reader.
        readers: how many there are.
        position: where to go on, None: at the beginning; what stands before it in that pass is read, not
            decoded.
    """

    def __init__(
        self,
        source: StreamSource,
        config: StreamConfig,
        number: int,
        readers: int,
        position: Position | None = None,
    ) -> None:
        self.source, self.config, self.number, self.readers = source, config, number, readers
        self.position = position or Position()
        self.left_out = LeftOut()

    def pixels(self) -> Iterator[NDArray[np.uint8]]:
        """Yield (3, S, S) squares for ever.

        Raises:
            ShardError, PictureError: one cannot be read and is not to be skipped, or nothing can.
        """
        while True:
            epoch, before, useful = self.position.epoch, self.position.drawn, False
            for picture in islice(self._shuffled(epoch), before, None):
                self.position = Position(epoch, self.position.drawn + 1)
                pixels = self._decode(picture)
                if pixels is not None:
                    useful = True
                    yield pixels
            if not useful and not before:
                raise ShardError(
                    f"no picture to train on in what reader {self.number} of {self.readers} reads; check "
                    "data.init_args.source, lower val_share, or have fewer workers"
                )
            self.position = Position(epoch + 1, 0)

    def batches(self) -> Iterator[StreamedBatch]:
        """Yield batches for ever, or what went wrong."""
        pixels = self.pixels()
        while True:
            try:
                pictures = list(islice(pixels, self.config.batch))
            except OnedpieceError as error:
                yield self._batch(torch.zeros(0), str(error))
                return
            yield self._batch(torch.from_numpy(np.stack(pictures)))

    def _batch(self, pixels: Tensor, error: str = "") -> StreamedBatch:
        left_out, self.left_out = self.left_out, LeftOut()
        return StreamedBatch(pixels, self.number, self.position, left_out, error)

    def _shuffled(self, epoch: int) -> Iterator[EncodedPicture]:
        shuffle, seed = self.config.shuffle, derive_seed("buffer", self.config.seed, epoch, self.number)
        stream = self._pass(epoch)
        if not shuffle:
            return stream
        from webdataset.filters import shuffle as shuffled

        stage: Any = shuffled(shuffle, initial=shuffle, rng=Random(seed))
        found: Iterator[EncodedPicture] = stage(stream)
        return found

    def _pass(self, epoch: int) -> Iterator[EncodedPicture]:
        """One pass over this reader's share of the training pictures."""
        shards = self.source.shards()
        if self.config.shuffle:
            Random(derive_seed("shards", self.config.seed, epoch)).shuffle(shards)
        if len(shards) >= self.readers:
            return self._of(shards[self.number :: self.readers])
        return islice(self._of(shards), self.number, None, self.readers)

    def _of(self, shards: Iterable[str]) -> Iterator[EncodedPicture]:
        for shard in shards:
            try:
                for picture in self.source.read(shard):
                    if not is_held_out(picture.key, self.config.val_share):
                        yield picture
            except ShardError as error:
                self.skip(LeftOut(shards=1), error)

    def _decode(self, picture: EncodedPicture) -> NDArray[np.uint8] | None:
        place = CENTRE
        if self.config.random_crop:
            draw = Random(derive_seed("crop", self.config.seed, *self.position, picture.key))
            place = (draw.random(), draw.random())
        try:
            return decode_picture(picture, self.config.size, place)
        except PictureError as error:
            self.skip(LeftOut(pictures=1), error)
            return None

    def skip(self, what: LeftOut, error: OnedpieceError) -> None:
        """Count what cannot be read, or raise the error."""
        if self.config.on_error == "stop":
            raise error
        self.left_out += what._replace(reasons=(str(error),))


def decode_picture(
    picture: EncodedPicture, size: int, place: tuple[float, float] = CENTRE
) -> NDArray[np.uint8]:
    """Decode one picture (see `square`).

    Raises:
        PictureError: the bytes are no picture; the message says its key.
    """
    try:
        return square(picture.data, size, place)
    except (OSError, PictureError) as error:
        raise PictureError(
            f"{picture.key} is no readable picture ({one_line(error)}); remove it, or set "
            "data.init_args.on_error to skip"
        ) from error


class ShardBatches(IterableDataset[StreamedBatch]):
    """Endless batches of one process; each of its W workers is a reader, and they take turns.

    Args:
        source: the shards.
        config: how they are drawn.
        start: number of the first batch: the worker whose turn it was comes first.
        positions: where readers go on, by their numbers.
        place: this process.
    """

    def __init__(
        self,
        source: StreamSource,
        config: StreamConfig,
        start: int,
        positions: dict[int, Position],
        place: Place,
    ) -> None:
        self.source, self.config, self.start = source, config, start
        self.positions, self.place = positions, place

    def __iter__(self) -> Iterator[StreamedBatch]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        number = self.place.rank * workers + (self.start + worker) % workers
        position = self.positions.get(number, Position())
        reader = Reader(self.source, self.config, number, self.place.world * workers, position)
        return reader.batches()
