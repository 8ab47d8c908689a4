"""The streamed data module: every picture once a pass, split, shuffled, resumed, and faults by name."""

import logging
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from onedpiece.errors import ShardError
from onedpiece.tokenizer import TokenizerConfig
from onedpiece.training.cli import check_size
from onedpiece.training.data.files import is_held_out, square
from onedpiece.training.data.reader import Position, Reader, StreamConfig
from onedpiece.training.data.sources import TarShards
from onedpiece.training.data.streaming import StreamedData

from .conftest import drawn, encoded, write_shard

Shards = Callable[..., Path]
SMALL: dict[str, Any] = {"size": 16, "batch": 4, "workers": 0, "shuffle": 8, "val_share": 0.0}


def module(folder: Path, **options: Any) -> StreamedData:
    data = StreamedData(TarShards(str(folder)), **(SMALL | options))
    data.setup("fit")
    return data


def numbers(pixels: Tensor) -> list[int]:
    """Which pictures these are; see `drawn`."""
    return (pixels[:, 0, 0, 0] // 4).tolist()


def batches(data: StreamedData, count: int) -> list[list[int]]:
    """Draw as a trainer does."""
    found = []
    for batch in islice(data.train_dataloader(), count):
        found.append(numbers(data.on_before_batch_transfer(batch, 0)))
        data.drawn += 1
    return found


def reader(folder: Path, number: int, readers: int, **options: Any) -> Reader:
    config = StreamConfig(**({"size": 16, "batch": 4, "shuffle": 8, "val_share": 0.0} | options))
    return Reader(TarShards(str(folder)), config, number, readers)


def test_a_size_that_is_not_the_tokenizers_is_one_line(
    shards: Shards, small_config: Callable[..., TokenizerConfig]
) -> None:
    holder: Any = SimpleNamespace(tokenizer=SimpleNamespace(config=small_config()))
    folder = shards(2, 6)
    check_size(holder, module(folder, size=32))
    with pytest.raises(ValueError, match=r"data\.init_args\.size is 16, model\.tokenizer\.image_size 32"):
        check_size(holder, module(folder))


@pytest.mark.parametrize("readers", [1, 2, 3, 8])
def test_readers_together_draw_every_picture_once_a_pass(shards: Shards, readers: int) -> None:
    folder = shards(4, 6)  # 8 readers are more than there are shards
    seen: Counter[int] = Counter()
    for number in range(readers):
        each = reader(folder, number, readers)
        for pixels in each.pixels():
            if each.position.epoch:
                break
            seen[int(pixels[0, 0, 0]) // 4] += 1
    assert seen == Counter(range(24))


def test_the_order_is_mixed_over_shards_and_changes_with_pass_and_seed(shards: Shards) -> None:
    folder = shards(4, 6)
    drawn_in = [int(p[0, 0, 0]) // 4 for p in islice(reader(folder, 0, 1).pixels(), 48)]
    assert sorted(drawn_in[:24]) == sorted(drawn_in[24:]) == list(range(24))
    assert drawn_in[:24] != drawn_in[24:]
    other = [int(p[0, 0, 0]) // 4 for p in islice(reader(folder, 0, 1, seed=1).pixels(), 24)]
    assert drawn_in[:24] != other
    first = {number // 6 for number in drawn_in[:6]}
    assert len(first) > 1  # the buffer holds more than a shard
    plain = [int(p[0, 0, 0]) // 4 for p in islice(reader(folder, 0, 1, shuffle=0).pixels(), 24)]
    assert plain == list(range(24))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("stop", [3, 7])
def test_a_resumed_run_draws_what_an_uninterrupted_one_does(shards: Shards, workers: int, stop: int) -> None:
    folder = shards(4, 6)
    whole = batches(module(folder, workers=workers), 10)
    first = module(folder, workers=workers)
    assert batches(first, stop) == whole[:stop]
    second = module(folder, workers=workers)
    second.load_state_dict(first.state_dict())
    assert batches(second, 10 - stop) == whole[stop:]


def test_with_other_workers_the_next_pass_begins(shards: Shards, caplog: pytest.LogCaptureFixture) -> None:
    first = module(shards(4, 6))
    batches(first, 2)
    state = first.state_dict()
    assert state["positions"] == {"0": [0, 8]}
    second = module(Path(first.source.urls), workers=2)  # type: ignore[attr-defined]
    second.load_state_dict(state)
    with caplog.at_level(logging.WARNING, logger="onedpiece"):
        second.train_dataloader()
    assert second.positions == {0: Position(1), 1: Position(1)}
    assert "1 readers went before, 2 come now" in caplog.text


def test_what_is_held_out_is_validated_on_and_never_trained_on(shards: Shards) -> None:
    data = module(shards(4, 6), val_share=0.3)
    held = [k for k in range(24) if is_held_out(f"{k:03d}", 0.3)]
    assert 2 < len(held) < 12
    assert numbers(torch.cat(list(data.val_dataloader()))) == held
    seen = {number for batch in batches(data, 20) for number in batch}
    assert seen == set(range(24)) - set(held)
    fitted = torch.cat(list(data.statistics_batches(5)))
    assert (fitted[:, 0, 0, 0] * 255 / 4).round().int().tolist() == [k for k in range(24) if k not in held][
        :5
    ]


def test_squares_lie_at_random_places_of_the_scaled_picture(tmp_path: Path) -> None:
    from PIL import Image

    ramp = np.tile(np.arange(64, dtype=np.uint8)[None, :, None], (16, 1, 3))  # x says where it was
    write_shard(tmp_path / "a.tar", {"a.png": encoded(Image.fromarray(ramp))})
    left = {int(p[0, 0, 0]) for p in islice(reader(tmp_path, 0, 1).pixels(), 12)}
    assert len(left) > 6
    assert min(left) >= 0
    assert max(left) <= 64 - 16
    centre = {int(p[0, 0, 0]) for p in islice(reader(tmp_path, 0, 1, random_crop=False).pixels(), 3)}
    assert centre == {24}
    assert square(encoded(Image.fromarray(ramp)), 16, (1.0, 0.5))[0, 0, 0] == 48


@pytest.fixture
def damaged(shards: Shards) -> Path:
    """A whole shard, one with a corrupt picture, a truncated one, and one that is not there."""
    folder = shards(1, 6)
    files = {f"{k:03d}.png": encoded(drawn(k)) for k in range(6, 12)}
    write_shard(folder / "s-001.tar", files | {"007.png": b"no picture"})
    path = write_shard(folder / "s-002.tar", {f"{k:03d}.png": encoded(drawn(k)) for k in range(12, 18)})
    path.write_bytes(path.read_bytes()[: 512 * 2 * 3 + 600])
    return folder


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_skipped_shards_and_pictures_are_named_and_counted(
    damaged: Path, workers: int, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    source = TarShards(f"{damaged}/s-{{000..003}}.tar")
    data = StreamedData(source, **(SMALL | {"workers": workers, "val_limit": 0}), on_error="skip")
    data.setup("fit")
    with caplog.at_level(logging.WARNING, logger="onedpiece"):
        seen = [number for batch in batches(data, 4) for number in batch][:14]
        data.teardown("fit")
    assert set(seen) == set(range(15)) - {7}
    assert data.left_out.pictures >= 1
    assert data.left_out.shards >= 2
    assert f"{data.left_out.pictures} pictures and {data.left_out.shards} shards" in caplog.text
    for name in ("007 is no readable picture", "s-002.tar cannot be read behind", "s-003.tar cannot be"):
        assert caplog.text.count(name) == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("{000,001}", "007 is no readable picture"),
        ("{000,002}", r"s-002\.tar cannot be read behind its picture 3"),
        ("{000,003}", r"s-003\.tar cannot be read from its beginning"),
    ],
)
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_stops_in_one_line_that_names_the_fault(
    damaged: Path, workers: int, files: str, message: str
) -> None:
    data = StreamedData(
        TarShards(f"{damaged}/s-{files}.tar"), **(SMALL | {"workers": workers, "val_limit": 0})
    )
    data.setup("fit")
    with pytest.raises(ShardError, match=message) as stop:
        batches(data, 8)
    assert "\n" not in str(stop.value)
    assert "data.init_args.on_error to skip" in str(stop.value)


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", {"notes.txt": b"no picture"})
    with pytest.raises(ShardError, match="no picture to validate on"):
        module(tmp_path)
    with pytest.raises(ShardError, match="no picture to train on in what reader 0 of 1 reads"):
        batches(module(tmp_path, val_limit=0), 1)
    with pytest.raises(FileNotFoundError, match=r"no \*\.tar at"):
        module(tmp_path / "*.gone")


@pytest.mark.parametrize("option", [{"batch": 0}, {"workers": -1}, {"size": 0}, {"val_share": 1.0}])
def test_numbers_out_of_range_are_named(tmp_path: Path, option: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        StreamedData(TarShards(str(tmp_path)), **option)  # type: ignore[arg-type]
