"""Caches of codes: made once, gone on with, refused where they are of another model."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("pyarrow")

from onedpiece.codec import Codec, WrongModelError
from onedpiece.codec.view import apply_view, view_named
from onedpiece.training.codes import (
    CacheError,
    CodeData,
    CodeDataset,
    CodeSamples,
    DepthScenes,
    build_cache,
    collate,
    crop_prefix,
)
from onedpiece.training.codes.cache_file import read_rows

PRINT = bytes.fromhex("0badcafe")


@pytest.fixture
def codec(small_codec: Callable[..., Codec]) -> Codec:
    return small_codec(PRINT)


@pytest.fixture
def source() -> DepthScenes:
    return DepthScenes(train=3, test=2, side=32)


@pytest.fixture
def cache(codec: Codec, source: DepthScenes, tmp_path: Path) -> Path:
    return build_cache(tmp_path / "codes.parquet", source, codec, ("plain", "flip", "crop1"))


def test_every_view_is_tokenized_as_the_codec_does(cache: Path, codec: Codec, source: DepthScenes) -> None:
    rows = read_rows(cache)
    assert rows.splits == ["test"] * 2 + ["train"] * 9  # tests come plain only
    assert rows.variants[2:5] == ["plain", "flip", "crop1"]
    examples = {each.key: each for each in source.examples()}
    for key, variant, codes in zip(rows.keys, rows.variants, rows.codes, strict=True):
        image = apply_view(examples[key].load().image, view_named(variant, key))
        np.testing.assert_array_equal(codec.encode(image).indices, codes)


def test_a_dataset_gives_codes_and_targets(cache: Path, source: DepthScenes) -> None:
    data = CodeDataset(cache, "train", PRINT, ["plain", "flip"])
    assert len(data) == 6
    plain, flip = data[0], data[1]
    assert (plain.indices.dtype, plain.indices.shape) == (torch.int64, (16,))
    assert isinstance(plain.target, torch.Tensor)
    assert isinstance(flip.target, torch.Tensor)
    truth = source.examples()[2].load().target  # behind the two tests
    assert isinstance(truth, torch.Tensor)
    torch.testing.assert_close(plain.target, truth)
    torch.testing.assert_close(flip.target, truth.flip(1))


def test_a_batch_is_its_samples(cache: Path) -> None:
    data = CodeDataset(cache)
    rows = torch.tensor([4, 1])
    batch, samples = data.batch(rows), collate([data[4], data[1]])
    assert torch.equal(batch.indices, samples.indices)
    assert isinstance(batch.targets, torch.Tensor)
    assert isinstance(samples.targets, torch.Tensor)
    assert torch.equal(batch.targets, samples.targets)
    assert torch.equal(crop_prefix(batch, 5).indices, batch.indices[:, :5])
    with pytest.raises(ValueError, match="tokens is 17; these codes have 1 to 16"):
        crop_prefix(batch, 17)


def test_another_model_is_refused(cache: Path, codec: Codec, source: DepthScenes) -> None:
    other = Codec(codec.tokenizer, b"\xfe\xed\xbe\xef")
    with pytest.raises(WrongModelError, match="holds codes of code space 0badcafe, the model's is feedbeef"):
        CodeDataset(cache, code_space=other.fingerprint)
    with pytest.raises(CacheError, match="holds codes of code space 0badcafe, the model's is feedbeef"):
        build_cache(cache, source, other, ("plain", "flip", "crop1"))


def test_other_photos_or_views_are_refused(cache: Path, codec: Codec, source: DepthScenes) -> None:
    with pytest.raises(CacheError, match="holds other photos or views of scenes"):
        build_cache(cache, source, codec, ("plain",))
    with pytest.raises(CacheError, match="holds other photos or views of scenes"):
        build_cache(cache, DepthScenes(4, 2, 32), codec, ("plain", "flip", "crop1"))


def test_a_finished_cache_is_left_alone(cache: Path, codec: Codec, source: DepthScenes) -> None:
    before = cache.stat().st_mtime_ns
    build_cache(cache, source, codec, ("plain", "flip", "crop1"))
    assert cache.stat().st_mtime_ns == before


class _KilledError(Exception):
    pass


def test_a_killed_run_goes_on_and_leaves_no_half_file(
    codec: Codec, source: DepthScenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[build_cache.__module__], "PART_SIZE", 2)  # 5 photos: parts of 2, 2 and 1
    path, encode, seen = tmp_path / "codes.parquet", codec.encode_batch, list[int]()

    def until_the_third(images: Sequence[Any], **options: Any) -> Any:
        seen.append(len(images))
        if len(seen) == 3:
            raise _KilledError
        return encode(images, **options)

    monkeypatch.setattr(codec, "encode_batch", until_the_third)
    with pytest.raises(_KilledError):
        build_cache(path, source, codec, ("plain",))
    assert not path.exists()
    assert {each.name for each in (tmp_path / "codes.parquet.parts").iterdir()} == {
        "0000000.parquet",
        "0000002.parquet",
    }
    told: list[tuple[int, int]] = []
    build_cache(path, source, codec, ("plain",), lambda done, total: told.append((done, total)))
    assert seen == [2, 2, 1, 1]  # only the third part is tokenized again
    assert told[-1] == (5, 5)
    assert [each.name for each in tmp_path.iterdir()] == ["codes.parquet"]
    assert len(read_rows(path).keys) == 5


def test_parts_of_another_plan_are_made_again(
    codec: Codec, source: DepthScenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "codes.parquet"
    parts = tmp_path / "codes.parquet.parts"
    build_cache(path, DepthScenes(1, 1, 32), codec, ("plain",))
    parts.mkdir()
    path.rename(parts / "0000000.parquet")
    build_cache(path, source, codec, ("plain",))
    assert len(read_rows(path).keys) == 5


def test_what_is_no_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"hello, this is no Parquet")
    with pytest.raises(CacheError, match=r"x\.parquet is no cache of codes"):
        CodeDataset(tmp_path / "x.parquet")
    with pytest.raises(FileNotFoundError):
        CodeDataset(tmp_path / "missing.parquet")


def test_a_split_that_is_not_there_is_named(cache: Path) -> None:
    with pytest.raises(CacheError, match="has no row of split 'val'"):
        CodeDataset(cache, "val")


def test_without_pyarrow_the_extra_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("onedpiece.training.codes.cache_file.import_module", absent)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'onedpiece\[heads\]'"):
        CodeDataset(cache)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, codec: Codec) -> None:
    monkeypatch.setattr("onedpiece.training.codes.dataset.load", lambda name, device: codec)


@pytest.mark.usefixtures("loaded")
def test_the_data_module_makes_its_cache_and_walks_it(source: DepthScenes, tmp_path: Path) -> None:
    data = CodeData(str(tmp_path / "new" / "codes.parquet"), source, batch=4)
    data.prepare_data()
    data.setup("fit")
    assert data.classes == ()
    batches = iter(data.train_dataloader())
    drawn = torch.cat([next(batches).indices for _ in range(3)])  # 12 of 6 rows: two whole shuffles
    assert torch.equal(drawn.sum(0), 2 * data.train.indices.sum(0))
    tested = list(data.val_dataloader())
    assert [len(batch.indices) for batch in tested] == [2]
    assert len(data.val_dataloader()) == 1  # type: ignore[arg-type]


@pytest.mark.usefixtures("loaded")
def test_a_resumed_run_draws_what_comes_next(source: DepthScenes, tmp_path: Path) -> None:
    path = str(tmp_path / "codes.parquet")
    first, second = CodeData(path, source, batch=2), CodeData(path, source, batch=2)
    first.prepare_data()
    batches = iter(first.train_dataloader())
    drawn: list[CodeSamples] = [next(batches) for _ in range(4)]
    second.load_state_dict({"drawn": 3})
    assert torch.equal(next(iter(second.train_dataloader())).indices, drawn[3].indices)


@pytest.mark.usefixtures("loaded")
def test_each_process_has_rows_of_its_own(tmp_path: Path) -> None:
    source, trained, tested = DepthScenes(train=4, test=3, side=32), [], []
    for rank in range(2):
        data = CodeData(str(tmp_path / "codes.parquet"), source, variants=("plain",), batch=2)
        data.prepare_data()
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)  # type: ignore[assignment]
        trained.append(next(iter(data.train_dataloader())).indices)
        tested += [batch.indices for batch in data.val_dataloader()]
    assert sorted(torch.cat(trained).tolist()) == sorted(data.train.indices.tolist())
    assert sorted(torch.cat(tested).tolist()) == sorted(data.test.indices.tolist())


@pytest.mark.usefixtures("loaded")
def test_neither_cache_nor_source(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"set data\.path or data\.source to tokenize photos"):
        CodeData(str(tmp_path / "none.parquet")).prepare_data()
