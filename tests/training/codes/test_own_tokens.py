"""A folder of one's own as tokens: a default place, broken photos, splits, and photos that change."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytest.importorskip("pyarrow")

from onedpiece.codec import Codec
from onedpiece.errors import CacheError
from onedpiece.training.codes import CamVid, CodeData, DepthScenes, build_cache, own_photos
from onedpiece.training.codes.cache_file import read_rows

Put = Callable[..., Path]


@pytest.fixture
def codec(small_codec: Callable[..., Codec], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Codec:
    """A tiny model in the place of the bundled one; caches go below the test's folder."""
    codec = small_codec(bytes.fromhex("0badcafe"))
    monkeypatch.setattr("onedpiece.training.codes.dataset.load", lambda name, device: codec)
    monkeypatch.chdir(tmp_path)
    return codec


@pytest.fixture
def pets(put: Put, tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        for i in range(4):
            put(f"pets/{name}/{i}.jpg")
    return tmp_path / "pets"


def ready(**options: object) -> CodeData:
    data = CodeData(**options)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.mark.usefixtures("codec")
def test_a_path_is_all_it_takes(pets: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    data = ready(path=str(pets), split="val", variants=("plain", "flip"))
    assert (data.task, data.classes) == ("classify", ("cat", "dog"))
    assert (len(data.train), len(data.test)) == (12, 2)
    assert isinstance(data.train.targets, torch.Tensor)
    assert data.train.targets.tolist() == [0] * 6 + [1] * 6
    assert f"pets (a folder per class): tokens are put into {data.cache}" in caplog.text
    assert Path(data.cache).parent == Path("runs/codes")
    before = Path(data.cache).stat().st_mtime_ns
    again = ready(path=str(pets), split="val", variants=("plain", "flip"))
    assert f"tokens are in {data.cache}" in caplog.text
    assert Path(again.cache).stat().st_mtime_ns == before


@pytest.mark.usefixtures("codec")
def test_more_photos_are_other_tokens(pets: Path, put: Put) -> None:
    first = ready(path=str(pets))
    put("pets/cow/1.jpg")
    second = ready(path=str(pets))
    assert second.classes == ("cat", "cow", "dog")
    assert first.cache != second.cache
    given = ready(path=str(pets), cache="given.parquet")
    put("pets/cow/2.jpg")
    with pytest.raises(CacheError, match=r"given\.parquet holds other photos or views of pets"):
        ready(path=str(pets), cache=given.cache)


@pytest.mark.usefixtures("codec")
def test_a_photo_that_moves_is_trained_on_with_its_new_label(pets: Path) -> None:
    first = ready(path=str(pets), variants=("plain",))
    moved = next(key for key in first.train.keys if key.startswith("cat/"))
    (pets / moved).rename(pets / "dog" / "moved.jpg")
    second = ready(path=str(pets), variants=("plain",))
    assert moved not in second.train.keys + second.test.keys
    assert "dog/moved.jpg" in second.train.keys + second.test.keys


@pytest.mark.usefixtures("codec")
def test_a_named_cache_of_other_photos_is_refused(tmp_path: Path) -> None:
    ready(cache="codes.parquet", source=DepthScenes(3, 2, 32), variants=("plain",))
    other = CamVid(str(tmp_path / "gone"))
    with pytest.raises(
        CacheError, match=r"codes\.parquet holds photos of scenes, and data\.source is camvid"
    ):
        ready(cache="codes.parquet", source=other, variants=("plain",))


@pytest.mark.usefixtures("codec")
def test_views_that_a_named_cache_lacks_are_said(caplog: pytest.LogCaptureFixture) -> None:
    source = DepthScenes(3, 2, 32)
    ready(cache="codes.parquet", source=source, variants=("plain",))
    assert not caplog.records
    data = ready(cache="codes.parquet", source=source, variants=("plain", "crop1"))
    assert len(data.train) == 3
    assert "codes.parquet has no view crop1, only plain" in caplog.text


@pytest.mark.usefixtures("codec")
def test_a_split_that_is_not_there_is_the_other_one(pets: Path, put: Put) -> None:
    assert ready(path=str(pets), split="test").test.keys == ready(path=str(pets), split="val").test.keys
    for split in ("train", "test"):
        put(f"known/{split}/a/1.jpg")
        put(f"known/{split}/b/2.jpg")
    assert ready(path="known", split="val").test.keys == ["test/a/1.jpg", "test/b/2.jpg"]


@pytest.mark.usefixtures("codec")
def test_tokens_as_a_path_are_a_cache(pets: Path) -> None:
    data = ready(path=str(pets))
    again = ready(path=data.cache, split="val")
    assert (again.source, again.task, again.test.keys) == (None, "classify", data.test.keys)


def test_what_says_too_little_or_too_much(codec: Codec, pets: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing says where the photos are; set data\.path"):
        CodeData()
    with pytest.raises(ValueError, match=r"data\.path and data\.source both name photos"):
        CodeData(path=str(pets), source=own_photos(str(pets)))


def test_broken_photos_are_counted_and_left_out(
    codec: Codec, pets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(4):
        (pets / "cat" / f"broken{i}.jpg").write_bytes(b"\xff\xd8 no picture")
    path = build_cache("codes.parquet", own_photos(str(pets)), codec, ("plain", "flip"))
    keys = read_rows(path).keys
    assert len(set(keys)) == 8
    assert not any("broken" in key for key in keys)
    named = [each.getMessage() for each in caplog.records]
    assert [each.split(" cannot")[0] for each in named[:3]] == [f"cat/broken{i}.jpg" for i in range(3)]
    assert named[3:] == [
        "4 of 12 photos could not be read: cat/broken0.jpg, cat/broken1.jpg, cat/broken2.jpg and 1 more"
    ]


def test_not_a_single_photo(codec: Codec, pets: Path) -> None:
    for photo in pets.rglob("*.jpg"):
        photo.write_bytes(b"no picture")
    with pytest.raises(
        CacheError, match=r"none of the 8 photos of pets \(a folder per class\) can be read, as"
    ):
        build_cache("codes.parquet", own_photos(str(pets)), codec)
