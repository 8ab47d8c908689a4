"""Shards of a bulk run as a dataset: classes, splits, lengths, and a head that trains on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onedpiece.bulk.encode import Encoder, info_of
from onedpiece.bulk.options import EncodeOptions
from onedpiece.bulk.shards import Row, token_schema, writing_shard
from onedpiece.bulk.storage import Folder
from onedpiece.bulk.units import list_units
from onedpiece.codec import Codec
from onedpiece.errors import CacheError, WrongModelError
from onedpiece.heads import load_head
from onedpiece.rate.target import RateTarget
from onedpiece.tokenizer import Tokenizer
from onedpiece.training.cli import head_main
from onedpiece.training.codes import CodeDataset
from onedpiece.training.codes.shards import HELD_OUT_SHARE
from onedpiece.weights import fingerprint, load_tokenizer, save

pytest.importorskip("pyarrow")


@pytest.fixture
def write(small_codec: Callable[..., Codec], tmp_path: Path) -> Callable[..., Path]:
    """Write rows as a shard of a bulk run, and return the run's folder."""

    def shard(rows: list[tuple[str, list[int] | None]], number: int = 0, space: bytes = b"tiny") -> Path:
        info = info_of(small_codec(space), RateTarget())
        plain: list[Row] = [
            {"key": key, "tokens": tokens, "bytes": 1, "error": None if tokens else "broken"}
            for key, tokens in rows
        ]
        with writing_shard(
            Folder(str(tmp_path / "run")), number, "parquet", token_schema(), info
        ) as open_shard:
            open_shard.add(plain, len(rows))
        return tmp_path / "run"

    return shard


def test_folders_are_classes_and_broken_rows_are_left_out(write: Callable[..., Path]) -> None:
    rows: list[Any] = [(f"{'cat' if i % 2 else 'ant'}/{i}.jpg", [i, 4095, 7]) for i in range(200)]
    run = write([*rows, ("cat/broken.jpg", None)])
    train, test = CodeDataset(run, "train", b"tiny"), CodeDataset(run, "test", b"tiny")
    assert train.metadata.classes == test.metadata.classes == ("ant", "cat")
    assert train.metadata.task == "classify"
    assert sorted(train.keys + test.keys) == sorted(key for key, _ in rows)
    assert 0 < len(test) < 3 * HELD_OUT_SHARE * 200
    assert CodeDataset(run, "val").keys == test.keys
    for row, key in enumerate(train.keys):
        sample = train[row]
        assert sample.indices.tolist() == [int(Path(key).stem), 4095, 7]
        assert int(sample.target) == int(key.startswith("cat"))  # type: ignore[arg-type]
    assert CodeDataset(run / "00000.parquet", "test").keys == test.keys  # one shard, without its folder


def test_a_first_folder_that_names_splits_is_followed(write: Callable[..., Path]) -> None:
    run = write([("train/a/1.png", [1]), ("val/a/2.png", [2]), ("train/b/3.png", [3])])
    write([("val/b/4.png", [4])], number=1)
    assert CodeDataset(run, "train").keys == ["train/a/1.png", "train/b/3.png"]
    val = CodeDataset(run, "val")
    assert (val.keys, val.targets.tolist()) == (["val/a/2.png", "val/b/4.png"], [0, 1])  # type: ignore[union-attr]
    with pytest.raises(CacheError, match="has no row of split 'test'"):
        CodeDataset(run, "test")


def test_codes_of_several_lengths(write: Callable[..., Path]) -> None:
    run = write([("train/a/1.png", [1, 2, 3]), ("train/a/2.png", [4]), ("train/b/3.png", [5, 6])])
    data = CodeDataset(run, "train")
    batch = data.batch(torch.tensor([2, 1]))
    assert batch.indices.tolist() == [[5, 6, 0], [4, 0, 0]]
    assert batch.lengths is not None
    assert batch.lengths.tolist() == [2, 1]
    assert data[1].indices.tolist() == [4]


def test_labels_of_a_file(write: Callable[..., Path], tmp_path: Path) -> None:
    run = write([("train/1.png", [1]), ("train/2.png", [2])])
    labels = tmp_path / "labels.tsv"
    labels.write_text("key\tclass\ntrain/1.png\tzebra\ntrain/2.png\tape\n")
    data = CodeDataset(run, "train", labels=labels)
    assert (data.metadata.classes, data.targets.tolist()) == (("ape", "zebra"), [1, 0])  # type: ignore[union-attr]
    labels.write_text("key\tclass\ntrain/1.png\tzebra\n")
    with pytest.raises(CacheError, match=r"no class for train/2\.png"):
        CodeDataset(run, "train", labels=labels)
    labels.write_text("file\tclass\n")
    with pytest.raises(CacheError, match='has no columns "key" and "class"'):
        CodeDataset(run, "train", labels=labels)


def test_what_cannot_be_trained_on_is_named(write: Callable[..., Path]) -> None:
    run = write([("1.png", [1])])
    with pytest.raises(CacheError, match=r"1\.png lies in no folder that would be its class"):
        CodeDataset(run)
    with pytest.raises(WrongModelError, match="code space 74696e79, the model's is 6f746872; tokenize"):
        CodeDataset(write([("a/1.png", [1])]), "train", b"othr")
    write([("a/1.png", [1])], number=1, space=b"othr")
    with pytest.raises(CacheError, match="shards of several runs, of code spaces 6f746872, 74696e79"):
        CodeDataset(run)


CONFIG = """
model:
  head: {task: classify, width: 32, heads: 2, layers: 1, grid: 0, channels: 8}
  schedule: {steps: 60, warmup: 0.1}
  optimizer: {lr: 0.01}
  tail_drop: {lengths: LENGTHS}
  counts: [16]
data: {batch: 16}
trainer: {accelerator: cpu, devices: 1, log_every_n_steps: 20}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "lengths", "option"), [({}, "per_batch", "cache"), ({"psnr": 12.0}, "per_sample", "path")]
)
def test_a_head_trains_from_a_bulk_run_as_it_is(
    target: dict[str, Any],
    lengths: str,
    option: str,
    stirred_tokenizer: Callable[..., Tokenizer],
    tmp_path: Path,
) -> None:
    """Dark pictures and light ones, tokenized in bulk; a head that learns nothing has about half right."""
    from PIL import Image

    random = np.random.default_rng(0)
    for i in range(120):
        pixels = random.integers(0, 128, (32, 32, 3)) + 127 * (i % 2)
        path = tmp_path / "photos" / ("light" if i % 2 else "dark") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    model, run = save(stirred_tokenizer(), tmp_path / "model"), tmp_path / "tokens"
    options = EncodeOptions(RateTarget(**target), best_effort=True)
    worker = Encoder(str(run), str(model), options, 16, 1)
    for unit in list_units([str(tmp_path / "photos")], 40).units:
        worker.work(unit)
    config = tmp_path / "head.yaml"
    config.write_text(CONFIG.replace("LENGTHS", lengths))
    words = [f"--config={config}", f"--data.{option}={run}", f"--trainer.default_root_dir={tmp_path / 'run'}"]
    head_main(["fit", *words, f"--data.model={model}"])
    loaded = load_head(tmp_path / "run" / "head.safetensors")
    assert loaded.code_space == fingerprint(load_tokenizer(model))
    assert loaded.head.config.classes == ("dark", "light")
    accuracy = float(loaded.note.split("accuracy ")[1].split()[0])
    assert accuracy >= 0.9, loaded.note
    other = save(stirred_tokenizer(fsq_grades=((8, (64, 64)), (8, (4, 4, 8, 32)))), tmp_path / "other")
    with pytest.raises(WrongModelError, match="tokenize the photos anew"):
        head_main(["fit", *words, f"--data.model={other}", "--overwrite"])
