"""What the engine adds to a worker: records for what fails, and an end to units that kill their workers."""

import pickle
import socket
from pathlib import Path
from typing import Any

import pytest

from onedpiece.bulk.engine import TRIES, Record, UnitActor, WorkerClass, check_reachable, cores_beside_cards
from onedpiece.bulk.options import Cluster, DecodeOptions, EncodeOptions
from onedpiece.bulk.shards import Shard, picture_schema, writing_shard
from onedpiece.bulk.storage import Folder
from onedpiece.bulk.units import Unit
from onedpiece.errors import BulkError

pytest.importorskip("pyarrow")


class Moody:
    """A worker that fails at one unit, and is killed at another, as far as its notes can tell."""

    def __init__(self, folder: str, left: list[int]) -> None:
        self.folder, self.left = Folder(folder), left

    def work(self, unit: Unit) -> Shard:
        if unit.number == 1:
            raise OSError(28, "No space left on device", "x.parquet")
        if unit.number == 2:
            raise KeyError("surprise")
        if unit.number == 3:
            self.left.append(unit.number)
            raise KeyboardInterrupt  # which nothing here catches, as a kill
        with writing_shard(self.folder, unit.number, "parquet", picture_schema(), None) as shard:
            shard.add([], 5)
        return shard


def record_of(actor: UnitActor, number: int) -> Record:
    batch = {"unit": [pickle.dumps(Unit(number, "files"))]}
    return pickle.loads(actor(batch)["record"][0])  # type: ignore[no-any-return]


@pytest.fixture
def actor(tmp_path: Path) -> UnitActor:
    return UnitActor(WorkerClass(__name__, "Moody"), (str(tmp_path), []))


def test_a_unit_that_fails_is_a_record(actor: UnitActor, tmp_path: Path) -> None:
    good = record_of(actor, 0)
    assert (good.number, good.counts["pictures"], good.error) == (0, 5, None)
    assert good.started <= good.ended
    assert good.peak_mib > 10
    assert "No space left on device" in str(record_of(actor, 1).error)
    assert record_of(actor, 2).error == "KeyError: 'surprise'"
    assert [path.name for path in tmp_path.iterdir()] == ["00000.parquet"]


def test_a_unit_that_kills_its_workers_is_given_up(
    actor: UnitActor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A kill leaves the note that is there while a unit is at work.
    monkeypatch.setattr(Folder, "remove", lambda self, name: None)
    for _ in range(TRIES):
        with pytest.raises(KeyboardInterrupt):
            record_of(actor, 3)
    assert len(actor.worker.left) == TRIES  # type: ignore[attr-defined]
    error = record_of(actor, 3).error
    assert error is not None
    assert error.startswith(f"BulkError: {TRIES} workers died at it")
    assert len(actor.worker.left) == TRIES  # type: ignore[attr-defined]


def test_a_machine_that_does_not_answer_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        check_reachable(address)
    for wrong in (address, "nowhere", "127.0.0.1:x"):
        with pytest.raises(BulkError, match=f"no Ray answers at {wrong} .*; give auto, or what ray start"):
            check_reachable(wrong)
    check_reachable("auto")


def test_cores_are_shared_by_the_actors_of_a_machine() -> None:
    head, one, eight = {"CPU": 64.0}, {"CPU": 16.0, "GPU": 1.0}, {"CPU": 96.0, "GPU": 8.0}
    assert cores_beside_cards([head, one], 1) == 16
    assert cores_beside_cards([head, one, eight], 1) == 12
    assert cores_beside_cards([one], 0.25) == 4
    assert cores_beside_cards([{"CPU": 2.0, "GPU": 4.0}], 1) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cluster(concurrency=0), "concurrency is 0"),
        (lambda: Cluster(num_gpus=-1), "num_gpus must not be negative"),
        (lambda: Cluster(batch=0), "batch must be 1 or more"),
        (lambda: EncodeOptions(crops=-1), "crops is -1"),
        (lambda: DecodeOptions(tokens=0), "tokens is 0"),
        (lambda: DecodeOptions(sharpness=2.0), r"sharpness is 2\.0"),
    ],
)
def test_options_out_of_range_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
    assert (Cluster().device, Cluster(num_gpus=0.5).device) == ("cpu", "cuda")
