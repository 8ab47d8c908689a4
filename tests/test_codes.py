"""Rows of tokens as batches of one length."""

import numpy as np
import pytest
import torch

import onedpiece
from onedpiece.codes import batch, find_shards, read_info
from onedpiece.errors import CacheError

ROWS = [{"key": "a", "tokens": [5, 6, 7]}, {"key": "b", "tokens": [65535]}]
TOKENS, MASK = [[5, 6, 7, 0], [65535, 0, 0, 0]], [[1, 1, 1, 0], [1, 0, 0, 0]]


def kinds() -> list[object]:
    pandas, pa = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    columns = {"tokens": [row["tokens"] for row in ROWS]}
    typed = pa.table({"tokens": pa.array(columns["tokens"], pa.list_(pa.uint16()))})
    arrays = [np.array(tokens, np.uint16) for tokens in columns["tokens"]]
    return [ROWS, columns, columns["tokens"], arrays, typed, typed.to_pandas(), pandas.DataFrame(columns)]


def test_rows_of_every_kind() -> None:
    for rows in kinds():
        tokens, mask = onedpiece.codes.batch(rows, pad_to=4)
        assert tokens.dtype == torch.int64
        assert tokens.tolist() == TOKENS
        assert mask.int().tolist() == MASK


def test_longer_rows_are_cut_and_padding_is_chosen() -> None:
    tokens, mask = batch(ROWS, pad_to=2, pad_with=4096)
    assert tokens.tolist() == [[5, 6], [65535, 4096]]
    assert mask.tolist() == [[True, True], [True, False]]
    assert batch([], pad_to=3).tokens.shape == (0, 3)
    assert batch(ROWS).tokens.shape == (2, 256)


def test_a_row_without_tokens_is_named() -> None:
    with pytest.raises(ValueError, match="row 1 has no tokens, as its picture could not be read"):
        batch([ROWS[0], {"tokens": None}])
    with pytest.raises(ValueError, match="pad_to is 0"):
        batch(ROWS, pad_to=0)


def test_what_is_no_shard_is_named(tmp_path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    with pytest.raises(CacheError, match=r"holds no \.parquet file with tokens"):
        find_shards(tmp_path)
    parquet.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    (path,) = find_shards(tmp_path)
    with pytest.raises(CacheError, match=r"x holds no tokens: it was not written by onedpiece bulk"):
        read_info(path, "x")
    path.write_bytes(b"no parquet at all")
    with pytest.raises(CacheError, match="x holds no tokens: "):
        read_info(path, "x")
