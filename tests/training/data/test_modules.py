from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from onedpiece.training.augment import AugmentConfig
from onedpiece.training.data import FolderData
from onedpiece.training.data.modules import Mode, PhotoData
from onedpiece.training.data.sampling import Place

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
    module = folder(data, val_share=0.5)
    fitted = torch.cat(list(module.statistics_batches()))
    assert torch.equal(fitted, module._pixels[module._split.train] / 255)  # type: ignore[index]


@pytest.mark.parametrize("mode", ["resident", "stream"])
def test_each_process_validates_on_its_share(data: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.cat(list(folder(data, mode).val_dataloader()))
    monkeypatch.setattr(FolderData, "_place", Place(1, 3))
    assert torch.equal(torch.cat(list(folder(data, mode).val_dataloader())), whole[1::3])


def test_each_batch_and_each_process_is_mirrored_in_its_own_way(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = folder(data)
    module.trainer = SimpleNamespace(training=True)  # type: ignore[assignment]
    x, seen = torch.arange(2, dtype=torch.uint8).expand(40, 3, 1, 2), []
    for rank in (0, 1):
        monkeypatch.setattr(FolderData, "_place", Place(rank, 2))
        module.drawn = 5
        seen += [module.augmented(x, AugmentConfig(), seed=0) for _ in range(2)]
        assert module.drawn == 7
    assert len({tuple(each[:, 0, 0, 0].tolist()) for each in seen}) == 4


def test_base_class_needs_a_source() -> None:
    with pytest.raises(TypeError, match="members"):
        PhotoData("x")  # type: ignore[abstract]
