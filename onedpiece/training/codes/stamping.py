"""A model whose decoder was trained on makes the same tokens: its caches need a new fingerprint only."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from onedpiece.codec import Codec
from onedpiece.training.codes.building import rows_of
from onedpiece.training.codes.source import Source
from onedpiece.training.codes.table import CacheError, read_arrow, read_facts, read_table, write_arrow


def restamp(path: str | Path, source: Source, codec: Codec, sample: int = 64, seed: int = 0) -> int:
    """Give a cache the fingerprint of a model that makes the same codes, once that is seen on some photos.

    Args:
        path: the cache.
        source: its photos.
        codec: the model.
        sample: how many photos to tokenize again.
        seed: chooses which.

    Returns:
        How many were the same; all of them.

    Raises:
        CacheError: a photo has other codes now, or is not in the cache.
    """
    path = Path(path)
    examples = source.examples()
    rows = read_table(path, variants=["plain"])
    known = dict(zip(rows.keys, rows.codes, strict=True))
    chosen = np.random.default_rng(seed).permutation(len(examples))[:sample]
    for at in chosen:
        example = examples[at]
        if example.key not in known:
            raise CacheError(f"{path} has no photo {example.key} of {source.name}; remove it")
        (row,) = rows_of(example, codec, ["plain"])
        if not np.array_equal(row.codes, known[example.key]):
            raise CacheError(f"{path}: {codec.name} makes other codes of {example.key}; remove the file")
    facts = replace(read_facts(path), fingerprint=codec.fingerprint.hex())
    write_arrow(path, read_arrow([path]), facts)
    return len(chosen)
