from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from onedpiece.training.data import FolderData
from onedpiece.training.data.modules import Mode, PhotoData

NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.png")


def folder(data: Path, mode: Mode = "resident", **options: object) -> FolderData:
    defaults: dict[str, object] = {"size": 16, "batch": 3, "mode": mode, "workers": 0, "val_share": 0.0}
    module = FolderData(str(data), include=NAMES, **(defaults | options))
    module.prepare_data()
    module.setup("fit")
    return module


def first(batches: Iterable[Tensor], count: int) -> list[Tensor]:
    return list(islice(batches, count))


def test_both_modes_yield_the_same_batches(data: Path) -> None:
    resident = first(folder(data).train_dataloader(), 5)
    streamed = first(folder(data, "stream").train_dataloader(), 5)
    assert all(torch.equal(a, b) for a, b in zip(resident, streamed, strict=True))
    assert resident[0].shape == (3, 3, 16, 16)
    assert resident[0].dtype == torch.uint8


def test_a_number_out_of_range_is_named(data: Path) -> None:
    for name, value in (("size", 0), ("batch", 0), ("batch", -1), ("workers", -1), ("val_share", 1.0)):
        with pytest.raises(ValueError, match=f"{name} is {value}; give"):
            folder(data, **{name: value})


def test_workers_keep_the_order(data: Path) -> None:
    alone = first(folder(data, "stream").train_dataloader(), 5)
    together = first(folder(data, "stream", workers=2).train_dataloader(), 5)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_goes_on_where_a_checkpoint_was(data: Path) -> None:
    whole = first(folder(data).train_dataloader(), 4)
    later = folder(data)
    later.load_state_dict({"drawn": 2})
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], first(later.train_dataloader(), 2), strict=True))


def test_cache_folder_is_used(data: Path, tmp_path: Path) -> None:
    folder(data, cache=str(tmp_path))
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_validation_sees_held_out_pictures_once(data: Path) -> None:
    module = folder(data, val_share=0.5)
    held = module._split.held_out
    assert 0 < len(held) < 4  # with these names and this share
    seen = torch.cat(list(module.val_dataloader()))
    assert torch.equal(seen, module._pixels[held])  # type: ignore[index]


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_share_zero_validates_on_the_training_pictures(data: Path, mode: Mode) -> None:
    batches = list(folder(data, mode, val_limit=4).val_dataloader())
    assert [len(batch) for batch in batches] == [3, 1]


def test_statistics_are_floats_of_training_pictures(data: Path) -> None:
    (batch,) = folder(data).statistics_batches(limit=2)
    assert batch.shape == (2, 3, 16, 16)
    assert batch.dtype == torch.float32
    assert 0 <= float(batch.min()) < float(batch.max()) <= 1


def test_base_class_needs_a_source() -> None:
    with pytest.raises(TypeError, match="members"):
        PhotoData("x")  # type: ignore[abstract]
