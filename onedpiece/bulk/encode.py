"""The actor that turns units of pictures into shards of tokens."""

from collections.abc import Sequence
from io import BytesIO
from math import isfinite
from typing import NamedTuple

import torch

from onedpiece._files import one_line
from onedpiece.bitstream import Code
from onedpiece.bulk.options import EncodeOptions
from onedpiece.bulk.reading import Encoded, batches_ahead, read_unit
from onedpiece.bulk.shards import Row, Shard, token_schema, writing_shard
from onedpiece.bulk.storage import Folder, is_address
from onedpiece.bulk.units import Unit
from onedpiece.codec.codec import Codec
from onedpiece.codec.images import read_converted
from onedpiece.codec.model import EncodeResult
from onedpiece.codec.quality import wants_faithful
from onedpiece.codec.tensors import Photo
from onedpiece.codec.view import pixel_box, view_named
from onedpiece.codes import MAX_CODEBOOK_SIZE, ShardInfo
from onedpiece.errors import BulkError
from onedpiece.metrics.registry import image_scorer
from onedpiece.rate.target import RateTarget
from onedpiece.weights import load

Box = tuple[int, int, int, int]
Outcome = EncodeResult | Exception
_WAITING = 8  # threads more that read from a server
_WHOLE = 8  # pictures of a batch that are held at their own size


class Prepared(NamedTuple):
    """A picture on its way into the network, or why it is none.

    Attributes:
        key: the picture's.
        size: (width, height), (0, 0) where it could not be read.
        boxes: of the crops, in pixels.
        photos: of each crop.
        warning: what is damaged, though it could be read.
        error: why it could not be read.
    """

    key: str
    size: tuple[int, int]
    boxes: list[Box]
    photos: list[Photo]
    warning: str | None = None
    error: str | None = None


class Encoder:
    """Holds a codec, and makes one shard of each unit that it is given.

    Args:
        folder: where shards go.
        model: as `onedpiece.load` takes it.
        options: what is asked of every picture.
        batch: pictures that go through the network together.
        threads: that the network takes; one more reads and decodes pictures.
        device: where the network runs, as torch names it.

    Raises:
        BulkError: the codebook does not fit 16 bits.
        WeightsError, ValueError: as `onedpiece.load`.
    """

    def __init__(
        self, folder: str, model: str, options: EncodeOptions, batch: int, threads: int, device: str = "cpu"
    ) -> None:
        torch.set_num_threads(threads)
        self.folder, self.options, self.threads = Folder(folder), options, threads
        self.codec = load(model, device, sharp=options.target.lpips is not None)
        self.codec.model.batch = batch
        self.info = info_of(self.codec, options.target)
        quality = options.target.quality
        self._keeps_pixels = quality is not None or options.score is not None
        self.batch = min(batch, _WHOLE) if self._keeps_pixels else batch

    def work(self, unit: Unit) -> Shard:
        """Make the shard of a unit, and return it with its counts.

        Raises:
            OSError: a tar or Parquet file cannot be opened, or the shard cannot be written.
        """
        layout = self.options.layout
        with writing_shard(self.folder, unit.number, layout, token_schema(), self.info) as shard:
            # Waiting for a server takes no core.
            threads = self.threads + (_WAITING if any(map(is_address, unit.addresses[:1])) else 1)
            for pictures in batches_ahead(read_unit(unit), self.batch, self._prepare, threads):
                shard.add(self._encode(pictures, shard), len(pictures))
        return shard

    def _prepare(self, encoded: Encoded) -> Prepared:
        try:
            # Crops, and what is scored, are of the photo's own pixels.
            wanted = None if self._keeps_pixels or self.options.crops else self.codec.image_size
            read = read_converted(BytesIO(encoded.load()), wanted)
            size = read.size or read.image.size
            boxes = crop_boxes(encoded.key, size, self.options.crops)
            whole = (0, 0, *size)
            photos = [Photo(read.image if box == whole else read.image.crop(box)) for box in boxes]
            if not self._keeps_pixels:
                for photo in photos:
                    photo.keep_square(self.codec.image_size)
        except Exception as error:  # whatever a broken picture leads a decoder to: a row, not a lost batch
            return Prepared(encoded.key, (0, 0), [], [], error=one_line(error))
        return Prepared(encoded.key, size, boxes, photos, read.damage or None)

    def _encode(self, pictures: Sequence[Prepared], shard: Shard) -> list[Row]:
        photos = [photo for picture in pictures for photo in picture.photos]
        outcomes = self.codec.encode_batch_to(
            photos,
            self.options.target,
            tiles=False,
            best_effort=self.options.best_effort,
            return_exceptions=True,
        )
        scores = iter(self._scores(photos, outcomes))
        coming = iter(outcomes)
        rows = []
        for picture in pictures:
            if picture.error is not None:
                rows.append(self._row(picture, None, None, picture.error))
            for box in picture.boxes:
                outcome, score = next(coming), next(scores)
                rows.append(self._outcome_row(picture, box, outcome, score, shard))
        return rows

    def _outcome_row(
        self,
        picture: Prepared,
        box: Box,
        outcome: Outcome,
        score: float | None,
        shard: Shard,
    ) -> Row:
        if isinstance(outcome, Exception):
            return self._row(picture, box, None, one_line(outcome))
        data = outcome.code.to_bytes()
        shard.add_file(picture.key, ".odp", data)
        row = self._row(picture, box, outcome.code, None)
        return row | {"bytes": len(data), "score": score}

    def _row(self, picture: Prepared, box: Box | None, code: Code | None, error: str | None) -> Row:
        width, height = picture.size
        return {
            "key": picture.key,
            "width": width,
            "height": height,
            "box": box,
            "tokens": None if code is None else code.indices,
            "count": 0 if code is None else len(code),
            "bytes": 0,
            "code_space": self.info.code_space,
            "score": None,
            "warning": picture.warning,
            "error": error,
        }

    def _scores(self, photos: Sequence[Photo], outcomes: Sequence[Outcome]) -> list[float | None]:
        """Return the score that was asked for of each outcome; None without one, or where it is infinite."""
        results = [each if isinstance(each, EncodeResult) else None for each in outcomes]
        metric = self.options.score
        if metric is None:
            return [_finite(each.search.score) if each and each.search else None for each in results]
        pictures = iter(self.codec.decode_batch([each.code for each in results if each], sharpness=0.0))
        return [
            _finite(image_scorer(metric, photo.image)([next(pictures)])[0]) if each else None
            for photo, each in zip(photos, results, strict=True)
        ]


def info_of(codec: Codec, target: RateTarget) -> ShardInfo:
    """Return what is true of all shards of a codec's tokens.

    Raises:
        BulkError: the codebook does not fit 16 bits.
    """
    config = codec.tokenizer.config
    if config.codebook_size > MAX_CODEBOOK_SIZE:
        raise BulkError(f"{codec.name} has {config.codebook_size} codes; a row holds {MAX_CODEBOOK_SIZE}")
    quality = target.quality
    return ShardInfo(
        codec.fingerprint.hex(),
        config.codebook_size,
        config.num_tokens,
        config.image_size,
        quality is not None and wants_faithful(codec.model, quality),
    )


def crop_boxes(key: str, size: tuple[int, int], crops: int) -> list[Box]:
    """Return the parts of a picture that are tokenized, in pixels: all of it, or random crops.

    Crop i is that of the view "crop{i}", without its mirroring (see `codec.view.view_named`).
    """
    if not crops:
        return [(0, 0, *size)]
    return [pixel_box(view_named(f"crop{i}", key).box, *size) for i in range(1, crops + 1)]


def _finite(score: float) -> float | None:
    return score if isfinite(score) else None
