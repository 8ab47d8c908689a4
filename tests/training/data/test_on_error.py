"""One bad picture or shard: it is named, and ends the run or is left out, as was asked for."""

import logging
import shutil
import tarfile
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from onedpiece.errors import PictureError
from onedpiece.training.data import FolderData
from onedpiece.training.data.files import square, tar_members
from onedpiece.training.data.modules import check_memory


@pytest.fixture
def folder(data: Path, tmp_path: Path) -> Path:
    """Three pictures, one of which is none."""
    (tmp_path / "photos").mkdir()
    for name in ("astronaut.png", "coffee.png"):
        shutil.copy(data / name, tmp_path / "photos" / name)
    (tmp_path / "photos" / "bad.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def photos(folder: Path, **options: Any) -> FolderData:
    defaults: dict[str, Any] = {"size": 16, "batch": 2, "workers": 0, "val_share": 0.0}
    return FolderData(str(folder), **(defaults | options))


def test_a_bad_picture_stops_the_run_and_leaves_no_partial_cache(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"bad\.png .*on_error to skip"):
        photos(folder, cache=str(tmp_path / "cache")).prepare_data()
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_a_bad_picture_is_skipped_and_counted(
    folder: Path, tmp_path: Path, mode: Any, caplog: pytest.LogCaptureFixture
) -> None:
    whole = photos(folder, include=("astronaut.png", "coffee.png"))
    whole.setup("fit")
    known = whole._pixels
    assert known is not None
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        module = photos(folder, mode=mode, cache=str(tmp_path / "cache"), on_error="skip")
        with caplog.at_level(logging.WARNING, logger="onedpiece"):
            module.prepare_data()
            module.setup("fit")
            seen = torch.cat(list(islice(module.train_dataloader(), 3)))
        assert all(any(torch.equal(one, each) for each in known) for one in seen)
        if mode == "resident":
            assert "1 of 3 pictures could not be read" in caplog.text
        else:
            assert "bad.png" in caplog.text
    assert sum(len(batch) for batch in module.val_dataloader()) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_picture_in_a_stream_is_said_in_one_line(folder: Path, workers: int) -> None:
    module = photos(folder, mode="stream", workers=workers, include=("bad.png",))
    module.setup("fit")
    with pytest.raises(PictureError, match=r"^bad\.png in [^\n]* is no readable picture [^\n]*$"):
        next(iter(module.train_dataloader()))


def test_not_a_single_picture_is_one_line(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"none of 3 pictures can be read; the first is astronaut\.png"):
        photos(folder, on_error="skip").setup("fit")


def test_what_is_held_out_can_be_read(folder: Path) -> None:
    """The lowest hash may be the broken one's: of the other two one is held out then."""
    module = photos(folder, on_error="skip", val_share=1e-6)
    module.setup("fit")
    assert [len(rows) for rows in module._split] == [1, 1]
    assert 1 not in [*module._split.train, *module._split.held_out]  # bad.png


def test_a_cache_that_lacks_pictures_does_not_pass_for_a_whole_one(folder: Path, tmp_path: Path) -> None:
    photos(folder, cache=str(tmp_path), on_error="skip").prepare_data()
    with pytest.raises(PictureError, match="lacks 1 pictures"):
        photos(folder, cache=str(tmp_path)).prepare_data()


def test_a_cut_shard_is_named_and_what_is_whole_can_be_kept(data: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.tar", tmp_path / "cut.tar"
    with tarfile.open(whole, "w") as tar:
        for name in ("astronaut.png", "coffee.png"):
            tar.add(data / name, name)
    cut.write_bytes(whole.read_bytes()[: -(data / "coffee.png").stat().st_size])
    whole.unlink()
    with pytest.raises(ValueError, match=r"cut\.tar is a damaged or compressed tar"):
        tar_members(tmp_path)
    assert [member.key for member in tar_members(tmp_path, "skip")] == ["astronaut"]


def test_no_room_for_the_set_is_said_before_decoding(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ValueError, match=r"GB left; set data\.init_args\.mode to stream"):
        photos(data, include=("coffee.png",), cache=str(tmp_path), size=64).prepare_data()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10**9, 2 * 10**9))
    with pytest.raises(ValueError, match=r"takes 2\.0 GB and cuda:0 has 1\.0 GB free"):
        check_memory(2 * 10**9, torch.device("cuda:0"))


def test_no_memory_for_the_set_is_said_too(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_AVPHYS_PAGES": 2, "SC_PAGE_SIZE": 4096}[name])
    with pytest.raises(ValueError, match=r"0\.0 GB of memory are free; set data\.init_args\.mode to stream"):
        photos(data, include=("coffee.png",), size=64).setup("fit")


def test_a_random_crop_is_for_what_streams(data: Path) -> None:
    with pytest.raises(ValueError, match="random_crop needs mode stream"):
        photos(data, random_crop=True)
    module = photos(data, include=("chelsea_451x300.png",), mode="stream", random_crop=True)
    module.setup("fit")
    first, second = islice(module.train_dataloader(), 2)
    assert not torch.equal(first[0], first[1])  # the same photo, cut at other places
    again = next(iter(photos_like(module).train_dataloader()))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_a_tall_photo_is_cut_at_random_too(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 16, 3))  # y says where it was
    Image.fromarray(ramp).save(tmp_path / "tall.png")
    module = photos(tmp_path, mode="stream", batch=12, random_crop=True)
    module.setup("fit")
    (batch,) = islice(module.train_dataloader(), 1)
    assert len({int(each[0, 0, 0]) for each in batch}) > 6


def photos_like(module: FolderData) -> FolderData:
    """The same module anew."""
    other = photos(Path(module.path), include=module.include, mode="stream", random_crop=True)
    other.setup("fit")
    return other


def test_training_sees_the_pixels_that_the_codec_sees(tmp_path: Path) -> None:
    grey = np.full((8, 8), 32768, np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey16.png")
    # 32768 / 65535 · 255 = 127.5; a plain convert("RGB") would clip to 255
    assert square((tmp_path / "grey16.png").read_bytes(), 8).mean() == pytest.approx(127.5, abs=0.6)
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert square((tmp_path / "clear.png").read_bytes(), 8).min() == 255


@pytest.mark.parametrize("option", [{"batch": 0}, {"workers": -1}, {"size": 0}, {"val_share": 1.0}])
def test_numbers_out_of_range_are_named(folder: Path, option: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        photos(folder, **option)
