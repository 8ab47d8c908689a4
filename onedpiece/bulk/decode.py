"""The actor that turns shards of tokens back into pictures."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import torch
from PIL import Image

from onedpiece._files import one_line
from onedpiece.bitstream import Code
from onedpiece.bulk.options import DecodeOptions
from onedpiece.bulk.shards import Row, Shard, picture_schema, writing_shard
from onedpiece.bulk.storage import Folder, open_file
from onedpiece.bulk.units import Unit
from onedpiece.codes import ShardInfo, pyarrow, read_info
from onedpiece.errors import OnedpieceError
from onedpiece.weights import load

QUALITY = 95  # of JPEG, WebP and AVIF: what the codec lost should be all that is lost


class Decoder:
    """Holds a codec, and makes the pictures of each shard that it is given.

    Args:
        folder: where pictures go.
        model: as `onedpiece.load` takes it.
        options: how rows become pictures.
        batch: rows that go through the network together.
        threads: that the network takes.
        device: where it runs, as torch names it.

    Raises:
        WeightsError, ValueError: as `onedpiece.load`.
    """

    def __init__(
        self, folder: str, model: str, options: DecodeOptions, batch: int, threads: int, device: str = "cpu"
    ) -> None:
        torch.set_num_threads(threads)
        self.folder, self.options, self.batch = Folder(folder), options, batch
        self.codec = load(model, device, sharp=options.sharpness != 0)
        self.codec.model.batch = batch
        self.format = Image.registered_extensions()[options.ending]

    def work(self, unit: Unit) -> Shard:
        """Write the pictures of a shard of tokens, and return what was written with its counts.

        Raises:
            OSError: the shard cannot be opened, or the pictures cannot be written.
            CacheError: it is no shard of tokens.
        """
        _, parquet = pyarrow()
        with (
            open_file(unit.source) as file,
            writing_shard(self.folder, unit.number, "tree", picture_schema(), None) as shard,
        ):
            info = read_info(file, unit.source)
            for batch in parquet.ParquetFile(file).iter_batches(self.batch):
                rows = batch.to_pylist()
                shard.add(self._decode(rows, info, shard), len(rows))
        return shard

    def _decode(self, rows: Sequence[Row], info: ShardInfo, shard: Shard) -> list[Row]:
        codes = [self._code(row, info) for row in rows]
        read = [code for code in codes if isinstance(code, Code)]
        images = iter(self.codec.decode_batch(read, sharpness=self.options.sharpness))
        return [
            self._save(row, next(images), shard) if isinstance(code, Code) else _missing(row, code)
            for row, code in zip(rows, codes, strict=True)
        ]

    def _code(self, row: Row, info: ShardInfo) -> Code | str:
        """Return a row's code, or why it has none."""
        if row["error"] is not None:
            return str(row["error"])
        try:
            code = code_of(row, info)
            self.codec.check_code(code)
            return code[: self.options.tokens] if self.options.tokens else code
        except (OnedpieceError, TypeError) as error:
            return one_line(error)

    def _save(self, row: Row, image: Image.Image, shard: Shard) -> Row:
        file = BytesIO()
        try:
            image.save(file, self.format, quality=QUALITY)
        except (OSError, ValueError) as error:  # no format holds every size
            return _missing(row, f"{image.width}x{image.height} pixels in {self.format}: {one_line(error)}")
        data = file.getvalue()
        name = shard.add_file(row["key"], self.options.ending, data)
        made = {"key": row["key"], "width": image.width, "height": image.height, "file": name}
        return made | {"bytes": len(data), "error": None}


def code_of(row: dict[str, Any], info: ShardInfo) -> Code:
    """Return a row's code, the size of its crop with it.

    Raises:
        BitstreamError: the row holds what no code can.
    """
    left, top, right, bottom = row["box"]
    size = (right - left, bottom - top)
    own = size == (info.image_size, info.image_size)
    space = bytes.fromhex(row["code_space"])
    return Code(row["tokens"], info.codebook_size, space, None if own else size, faithful=info.faithful)


def _missing(row: Row, why: Code | str) -> Row:
    empty = {"width": 0, "height": 0, "file": None, "bytes": 0}
    return {"key": row["key"], **empty, "error": str(why)}
