"""Shards of `onedpiece bulk` as a dataset of codes: classes are the folders that photos lay in."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onedpiece.codes import ShardInfo, find_shards, has_info, pyarrow, read_info
from onedpiece.errors import CacheError
from onedpiece.training.codes.base import TEST, TRAIN, VAL
from onedpiece.training.codes.cache_file import CacheMetadata
from onedpiece.training.codes.layout import HELD_OUT_SHARE
from onedpiece.training.data.files import is_held_out


class ShardRows(NamedTuple):
    """Rows of one split, in order.

    Attributes:
        keys: the photos' names.
        codes: (R, N) int32, N of the longest; 0 behind a row's last token.
        lengths: (R,) int64, tokens a row; None: all have N.
        targets: (R,) int64, numbers of classes.
    """

    keys: list[str]
    codes: Tensor
    lengths: Tensor | None
    targets: Tensor


def is_bulk(path: Path) -> bool:
    """Say whether a path is a folder of shards, or one of them."""
    if path.is_dir():
        return True
    pa, parquet = pyarrow()
    try:
        return has_info(parquet.read_schema(path))
    except pa.ArrowInvalid:
        return False


def read_shards(path: Path, split: str, labels: Path | None = None) -> tuple[CacheMetadata, ShardRows]:
    """Read the rows of one split that have tokens.

    The split is what a key's first folder names (train, val or test), or else the hash of the key: a tenth is
    held out, and is both val and test. The class is the folder that the photo lies in.

    Args:
        path: a folder that `onedpiece bulk` wrote, or one shard of it.
        split: "train", "val" or "test".
        labels: a TSV file with columns "key" and "class", in the place of folders.

    Raises:
        CacheError: there are no shards, they are of several code spaces, or a photo has no class.
        OSError: a file cannot be opened.
    """
    shards = find_shards(path)
    info = _one_info(shards)
    named = None if labels is None else read_labels(labels)
    keys, tokens = _columns(shards)
    classes = [_class_of(key, named) for key in keys]
    numbers = {name: number for number, name in enumerate(sorted(set(classes)))}
    split_of = _splits(keys)
    wanted = [row for row, key in enumerate(keys) if split in split_of(key)]
    codes, lengths = _padded([tokens[row] for row in wanted])
    targets = torch.tensor([numbers[classes[row]] for row in wanted], dtype=torch.int64)
    metadata = CacheMetadata(
        info.code_space,
        str(path),
        "classify",
        tuple(numbers),
        info.num_tokens,
        info.codebook_size,
        info.image_size,
        digest="",
    )
    return metadata, ShardRows([keys[row] for row in wanted], codes, lengths, targets)


def read_labels(path: Path) -> dict[str, str]:
    """Return the class of each key.

    Raises:
        CacheError: a column is missing.
        OSError: the file cannot be opened.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        if not {"key", "class"} <= set(rows.fieldnames or ()):
            raise CacheError(f'{path} has no columns "key" and "class"; its first line names the columns')
        return {row["key"]: row["class"] for row in rows}


def _one_info(shards: Sequence[Path]) -> ShardInfo:
    found = {read_info(shard, str(shard)) for shard in shards}
    if len(found) > 1:
        spaces = ", ".join(sorted({info.code_space for info in found}))
        raise CacheError(f"{shards[0].parent} holds shards of several runs, of code spaces {spaces}")
    return found.pop()


def _columns(shards: Sequence[Path]) -> tuple[list[str], list[NDArray[Any]]]:
    """Return keys and tokens of the rows that have any."""
    _, parquet = pyarrow()
    keys: list[str] = []
    tokens: list[NDArray[Any]] = []
    for shard in shards:
        table = parquet.read_table(shard, columns=["key", "tokens"])
        table = table.filter(table["tokens"].is_valid())
        keys += table["key"].to_pylist()
        tokens += table["tokens"].to_pandas().tolist() if len(table) else []
    if not keys:
        raise CacheError(f"{shards[0].parent} holds no row with tokens")
    return keys, tokens


def _class_of(key: str, named: Mapping[str, str] | None) -> str:
    if named is not None:
        if key not in named:
            raise CacheError(f"the labels have no class for {key}; add a line for it")
        return named[key]
    folder = PurePosixPath(key).parent.name
    if not folder:
        raise CacheError(f"{key} lies in no folder that would be its class; set data.labels to a TSV file")
    return folder


def _splits(keys: Iterable[str]) -> Any:
    """Return what says which splits a key belongs to."""
    names = {TRAIN, VAL, TEST}
    if any(key.partition("/")[0] in names for key in keys):
        return lambda key: {key.partition("/")[0]}
    return lambda key: {VAL, TEST} if is_held_out(key, HELD_OUT_SHARE) else {TRAIN}


def _padded(rows: Sequence[NDArray[Any]]) -> tuple[Tensor, Tensor | None]:
    lengths = np.array([len(row) for row in rows], np.int64)
    codes = np.zeros((len(rows), int(lengths.max(initial=0))), np.int32)
    if rows:
        codes[np.arange(codes.shape[1]) < lengths[:, None]] = np.concatenate(rows)
    same = len(set(lengths.tolist())) < 2
    return torch.from_numpy(codes), None if same else torch.from_numpy(lengths)
