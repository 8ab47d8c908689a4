"""What others read: datasets and pandas, with nothing of ours."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onedpiece
from onedpiece.bulk.encode import Encoder
from onedpiece.bulk.manifest import Manifest, begin
from onedpiece.bulk.options import EncodeOptions
from onedpiece.bulk.units import list_units
from onedpiece.rate.target import RateTarget
from tests.bulk.conftest import Inputs, rows_of

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def run(model: Path, inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 rows in three shards beside their manifest; tokens of several lengths, and two errors."""
    out = tmp_path_factory.mktemp("read") / "out"
    worker = Encoder(str(out), str(model), EncodeOptions(RateTarget(max_bytes=24)), 8, 1)
    begin(worker.folder, Manifest("encode", {}, {}, {}, "parquet"))
    for unit in list_units([str(inputs.folder)], 20).units:
        worker.work(unit)
    return out


def check_batch(rows: Any, expected: list[dict[str, Any]]) -> None:
    tokens, mask = onedpiece.codes.batch(rows, pad_to=16)
    assert mask.sum(1).tolist() == [row["count"] for row in expected]
    assert [line[: row["count"]].tolist() for line, row in zip(tokens, expected, strict=True)] == [
        row["tokens"] for row in expected
    ]


def test_pandas_reads_the_folder(run: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(run).sort_values("key")
    expected = rows_of(run)
    assert frame["key"].tolist() == [row["key"] for row in expected]
    assert (frame["width"].dtype, frame["count"].dtype) == (np.int32, np.int32)
    assert frame["error"].notna().sum() == 2
    read = frame[frame["error"].isna()]
    assert read["tokens"].iloc[0].dtype == np.uint16
    check_batch(read, [row for row in expected if row["error"] is None])


@pytest.mark.slow
def test_datasets_reads_the_shards(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    shards = [str(path) for path in sorted(run.glob("*.parquet"))]
    rows = datasets.load_dataset("parquet", data_files=shards, split="train", cache_dir=str(tmp_path))
    assert len(rows) == 48
    assert rows.features["tokens"].feature.dtype == "uint16"
    read = rows.filter(lambda row: row["error"] is None)
    expected = {row["key"]: row for row in rows_of(run)}
    check_batch(read[:32], [expected[key] for key in read[:32]["key"]])
    assert read[0]["code_space"] == expected[read[0]["key"]]["code_space"]
