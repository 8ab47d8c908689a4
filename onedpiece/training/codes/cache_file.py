"""A cache of codes on disk: one Parquet file, whose metadata names its source and code space."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from struct import iter_unpack, pack
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from onedpiece._files import atomic_path, one_line
from onedpiece.errors import CacheError, MissingExtraError
from onedpiece.heads import Task
from onedpiece.training.codes.base import BoxTarget, Target

FORMAT = 2
_KEY = b"onedpiece.codes"  # in the file's metadata
_ROW = "<4fi"  # a box and its label
_SOFT = b"p"  # in front of probabilities


@dataclass(frozen=True)
class CacheMetadata:
    """What is true of all rows of a cache."""

    code_space: str  # what the tokens mean, in hexadecimal (see `onedpiece.heads.code_space_of`)
    source: str  # its name
    task: Task
    classes: tuple[str, ...]  # their names by number
    num_tokens: int  # of each row
    codebook_size: int
    image_size: int  # side of the model's pictures and of maps, in pixels
    digest: str  # of the keys, splits and views of all rows, in order: another one is another cache


class Row(NamedTuple):
    """One view of one photo.

    Attributes:
        key: the photo's name.
        split: "train", "val" or "test".
        variant: the view's name.
        codes: (N,) uint16.
        target: as `pack_target` gives it.
    """

    key: str
    split: str
    variant: str
    codes: NDArray[np.uint16]
    target: bytes


class Rows(NamedTuple):
    """Rows by column, in the file's order."""

    keys: list[str]
    splits: list[str]
    variants: list[str]
    codes: NDArray[np.uint16]
    targets: list[bytes]


def write_rows(path: Path, rows: Sequence[Row], metadata: CacheMetadata) -> None:
    """Write a file that appears whole or not at all.

    Raises:
        MissingExtraError: pyarrow is not installed; the message names the extra.
    """
    pa, _ = _pyarrow()
    codes = [row.codes.astype(np.uint16) for row in rows]
    flat = pa.array(np.concatenate([np.empty(0, np.uint16), *codes]), pa.uint16())
    text = pa.string()
    columns = {
        "key": pa.array([row.key for row in rows], text),
        "split": pa.array([row.split for row in rows], text),
        "variant": pa.array([row.variant for row in rows], text),
        "codes": pa.FixedSizeListArray.from_arrays(flat, metadata.num_tokens),
        "target": pa.array([row.target for row in rows], pa.binary()),
    }
    write_arrow(path, pa.table(columns), metadata)


def write_arrow(path: Path, table: Any, metadata: CacheMetadata) -> None:
    """Write a pyarrow table as `write_rows` does, with these metadata."""
    _, parquet = _pyarrow()
    text = json.dumps({"format": FORMAT, **asdict(metadata)})
    with atomic_path(path) as partial:
        parquet.write_table(table.replace_schema_metadata({_KEY: text.encode()}), partial, compression="zstd")


def read_metadata(path: Path) -> CacheMetadata:
    """Return the metadata of a cache.

    Raises:
        CacheError: it is no cache of codes.
        OSError: it cannot be opened.
        MissingExtraError: as `write_rows`.
    """
    pa, parquet = _pyarrow()
    try:
        stored = parquet.read_schema(path).metadata or {}
    except pa.ArrowInvalid as error:
        raise CacheError(f"{path} is no cache of codes: {one_line(error)}") from None
    if _KEY not in stored:
        raise CacheError(f"{path} is no cache of codes: it has no {_KEY.decode()} in its metadata")
    metadata = json.loads(stored[_KEY])
    if metadata.pop("format") != FORMAT:
        raise CacheError(f"{path} has another format than {FORMAT}; remove it and it is made anew")
    return CacheMetadata(**{**metadata, "classes": tuple(metadata["classes"])})


def read_arrow(paths: Sequence[Path]) -> Any:
    """Return the rows of files of one schema, in order, as a pyarrow table."""
    pa, parquet = _pyarrow()
    return pa.concat_tables([parquet.read_table(path) for path in paths])


def read_rows(path: Path, split: str | None = None, variants: Sequence[str] | None = None) -> Rows:
    """Return a cache's rows of one split (None: all) and of some variants (None: all)."""
    _, parquet = _pyarrow()
    wanted = [("split", "in", [split])] if split else []
    wanted += [("variant", "in", list(variants))] if variants else []
    table = parquet.read_table(path, filters=wanted or None)
    codes = table["codes"].combine_chunks()
    width = codes.type.list_size
    return Rows(
        table["key"].to_pylist(),
        table["split"].to_pylist(),
        table["variant"].to_pylist(),
        codes.flatten().to_numpy().reshape(-1, width),
        table["target"].to_pylist(),
    )


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError("caches of codes need an extra: pip install 'onedpiece[heads]'") from error


def pack_target(target: Target) -> bytes:
    """Return a target's bytes.

    A mask as PNG, depths as float32, boxes as rows of 4 floats and a class, a class as a 32-bit integer,
    probabilities as float16.
    """
    if isinstance(target, BoxTarget):
        rows = zip(target.boxes.tolist(), target.labels.tolist(), strict=True)
        return b"".join(pack(_ROW, *box, label) for box, label in rows)
    if target.ndim == 0:
        return pack("<i", int(target))
    if target.ndim == 1:
        return _SOFT + target.half().numpy().astype("<f2").tobytes()
    return _png(target) if target.dtype == torch.uint8 else target.numpy().astype("<f4").tobytes()


def unpack_target(data: bytes, task: Task, image_size: int) -> Target:
    """Return what `pack_target` was given.

    Args:
        data: the bytes.
        task: what they are a target of.
        image_size: side of maps, in pixels.
    """
    if task == "detect":
        return _boxes(data)
    if task == "classify":
        if data.startswith(_SOFT) and len(data) % 2:  # a number has 4 bytes
            return torch.from_numpy(np.frombuffer(data[1:], "<f2").copy())
        return torch.tensor(int.from_bytes(data, "little", signed=True))
    if task == "segment":
        return torch.from_numpy(np.array(Image.open(BytesIO(data))))
    return torch.from_numpy(np.frombuffer(data, "<f4").reshape(image_size, image_size).copy())


def _png(mask: Tensor) -> bytes:
    file = BytesIO()
    Image.fromarray(mask.numpy()).save(file, "PNG")
    return file.getvalue()


def _boxes(data: bytes) -> BoxTarget:
    rows = list(iter_unpack(_ROW, data))
    boxes = torch.tensor([row[:4] for row in rows]).reshape(-1, 4)
    return BoxTarget(boxes, torch.tensor([row[4] for row in rows], dtype=torch.int64))
