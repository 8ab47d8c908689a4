"""The data module of streamed pictures: shards split over processes and workers, shuffled, and resumed.

Nothing is known of a shard before it is read, so pictures may lie anywhere and be of any number.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from onedpiece.errors import PictureError, ShardError
from onedpiece.training.augment import AugmentConfig, to_unit
from onedpiece.training.data.files import OnError, is_held_out
from onedpiece.training.data.modules import ResumableData
from onedpiece.training.data.reader import (
    LeftOut,
    Position,
    Reader,
    ShardBatches,
    StreamConfig,
    StreamedBatch,
    decode_picture,
)
from onedpiece.training.data.sampling import OrderedBatches
from onedpiece.training.data.sources import StreamSource

log = logging.getLogger(__name__)


class StreamedData(ResumableData):
    """Square photographs out of shards that are read as training goes on, with a held-out share.

    A resumed run with as many processes and workers goes on with the very next picture; with others it begins
    the next pass. The trainer gets float32 (B, 3, size, size) in [0, 1].

    Args:
        source: of the pictures to train on.
        size: side in pixels: a picture's short side is scaled to it, then a square is cut at random.
        batch: pictures a batch and process.
        workers: processes that read and decode; 0 does it in this one.
        shuffle: pictures that each worker holds encoded to draw from; 0: none, and shards in order.
        random_crop: False cuts the centre, as validation does.
        val_source: of pictures to validate on; None: those that `val_share` holds out of `source`.
        val_share: share held out by the hash of the key; 0 validates on training pictures.
        val_limit: most pictures to validate on; they are looked for from the first shard on.
        augment: what training pictures go through on the device.
        seed: of order, crops and augmentation.
        on_error: of a picture or shard that cannot be read: `stop`, or `skip`, which names and counts it.

    Attributes:
        left_out: what could not be read so far.

    Raises:
        ValueError: on construction, a number out of range.
        ShardError: a shard cannot be read, and `on_error` is `stop`.
        PictureError: a picture cannot, likewise.
    """

    def __init__(
        self,
        source: StreamSource,
        size: int = 256,
        batch: int = 32,
        workers: int = 2,
        shuffle: int = 1000,
        random_crop: bool = True,
        val_source: StreamSource | None = None,
        val_share: float = 0.01,
        val_limit: int = 64,
        augment: AugmentConfig = AugmentConfig(),  # noqa: B008 (frozen)
        seed: int = 0,
        on_error: OnError = "stop",
    ) -> None:
        super().__init__()
        if workers < 0:
            raise ValueError(f"data.init_args.workers is {workers}; use 0 or more")
        share = 0.0 if val_source is not None else val_share
        self.config = StreamConfig(size, batch, shuffle, seed, share, random_crop, on_error)
        self.size, self.source, self.val_source, self.val_limit = size, source, val_source, val_limit
        self.workers, self.augment = workers, augment
        self.left_out = LeftOut()
        self.positions: dict[int, Position] = {}
        self._readers = 0  # how many there were when `positions` were noted
        self._val: Tensor | None = None

    def setup(self, stage: str) -> None:
        """Find the shards and decode what is validated on, so that what is missing is said at once."""
        self.source.shards()
        if self._val is None and self.val_limit:
            self._val = self._pictures(
                self.val_source or self.source, self.val_limit, self._is_for_validation
            )

    def _is_for_validation(self, key: str) -> bool:
        return not self.config.val_share or is_held_out(key, self.config.val_share)

    def _pictures(self, source: StreamSource, limit: int, wanted: Callable[[str], bool]) -> Tensor:
        """Return the first wanted pictures of a source, centre crops, the same in every process."""
        reader = Reader(source, self.config, 0, 1)
        found: list[NDArray[np.uint8]] = []
        for shard in source.shards():
            if len(found) == limit:
                break
            found += self._first_of(reader, shard, limit - len(found), wanted)
        if not found:
            raise ShardError(
                f"no picture to validate on, or to fit statistics to, in {source.shards()[0]} and what "
                "follows; check data.init_args.source, raise val_share, or set it to 0"
            )
        self._note(reader.left_out)
        return torch.from_numpy(np.stack(found))

    def _first_of(
        self, reader: Reader, shard: str, limit: int, wanted: Callable[[str], bool]
    ) -> list[NDArray[np.uint8]]:
        found: list[NDArray[np.uint8]] = []
        try:
            for picture in reader.source.read(shard):
                if not wanted(picture.key):
                    continue
                try:
                    found.append(decode_picture(picture, self.config.size))
                except PictureError as error:
                    reader.skip(LeftOut(pictures=1), error)
                if len(found) == limit:
                    break
        except ShardError as error:
            reader.skip(LeftOut(shards=1), error)
        return found

    def train_dataloader(self) -> Iterable[StreamedBatch]:
        """Return endless batches, from the first that was not drawn yet."""
        workers = max(1, self.workers)
        readers = self._place.world * workers
        positions = self.positions
        if positions and self._readers != readers:
            epoch = 1 + max(position.epoch for position in positions.values())
            positions = {number: Position(epoch) for number in range(readers)}
            log.warning("%d readers went before, %d come now: the next pass begins", self._readers, readers)
        self._readers, self.positions = readers, dict(positions)
        batches = ShardBatches(self.source, self.config, self.drawn, self.positions, self._place)
        return DataLoader(
            batches, batch_size=None, num_workers=self.workers, persistent_workers=self.workers > 0
        )

    def val_dataloader(self) -> Iterable[Tensor]:
        """Return the pictures to validate on, this process's share of them, once."""
        assert self._val is not None
        pixels, place = self._val, self._place
        rows = torch.arange(place.rank, len(pixels), place.world)
        return OrderedBatches(lambda at: pixels[at], rows, self.config.batch)

    def statistics_batches(self, limit: int = 2048) -> Iterable[Tensor]:
        """Yield up to `limit` training pictures as (B, 3, size, size) in [0, 1], on the CPU.

        The first ones of the shards, the same in every process.
        """
        share = self.config.val_share
        pixels = self._pictures(self.source, limit, lambda key: not is_held_out(key, share))
        for part in torch.split(pixels, self.config.batch):
            yield to_unit(part)

    def _note(self, left_out: LeftOut) -> None:
        """Count what could not be read, and say each fault once: also those that a worker came across."""
        for reason in set(left_out.reasons) - set(self.left_out.reasons):
            log.warning("left out: %s", reason)
        self.left_out += left_out

    def on_before_batch_transfer(self, batch: StreamedBatch | Tensor, dataloader_idx: int) -> Tensor:
        """Take a batch's pixels, and note where its reader is.

        Raises:
            ShardError: the stream ended; the message says why.
        """
        if isinstance(batch, Tensor):
            return batch
        if batch.error:
            raise ShardError(batch.error)
        self.positions[batch.reader] = batch.position
        self._note(batch.left_out)
        return batch.pixels

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        """Turn bytes into floats, and augment what is trained on."""
        return self.augmented(batch, self.augment, self.config.seed)

    def teardown(self, stage: str) -> None:
        """Say how much could not be read."""
        pictures, shards, _ = self.left_out
        if stage == "fit" and pictures + shards:
            log.warning("left out: %d pictures and %d shards that could not be read", pictures, shards)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs to go on: every process asks, the first one's is kept."""
        positions = dict(self.positions)
        if self._place.world > 1:
            gathered: list[Any] = [None] * self._place.world
            torch.distributed.all_gather_object(gathered, positions)
            positions = {number: each for part in gathered for number, each in part.items()}
        plain = {str(number): list(position) for number, position in positions.items()}
        return super().state_dict() | {"readers": self._readers, "positions": plain}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        super().load_state_dict(state_dict)
        self._readers = int(state_dict.get("readers", 0))
        plain = state_dict.get("positions", {})
        self.positions = {int(number): Position(*position) for number, position in plain.items()}
