"""Whole runs on a real Ray of two workers: three kinds of input, and kills of drivers and workers."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.bulk.conftest import BROKEN, MANY, Inputs, RayRuns, rows_of

pytestmark = pytest.mark.slow
SHARD = 10
SHARDS = MANY // SHARD
DRIVER_KILLS, WORKER_KILLS = 12, 5


@pytest.fixture(scope="module")
def whole(ray_runs: RayRuns, many: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An uninterrupted run over the folder."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return ray_runs.run(many.folder, out, "--tokens", 12, "--shard-size", SHARD) | {"read": rows_of(out)}


def test_a_broken_picture_is_a_row_and_costs_no_other(whole: dict[str, Any], many: Inputs) -> None:
    assert [row["key"] for row in whole["read"]] == sorted(many.pictures)
    broken = {key for key, data in many.pictures.items() if data == b"no picture"}
    failed = {row["key"]: row["error"] for row in whole["read"] if row["tokens"] is None}
    assert failed == dict.fromkeys(broken, "not a picture that Pillow can read")
    assert len(failed) == BROKEN
    assert {row["count"] for row in whole["read"]} == {0, 12}
    counts = {name: whole[name] for name in ("pictures", "rows", "errors", "shards", "tokens", "resumed")}
    assert counts == {
        "pictures": MANY,
        "rows": MANY,
        "errors": BROKEN,
        "shards": SHARDS,
        "tokens": 12 * (MANY - BROKEN),
        "resumed": 0,
    }


def test_what_is_said_is_failures_only(whole: dict[str, Any]) -> None:
    lines = whole["stderr"].splitlines()
    assert len(lines) == 20  # of 40: the first ones
    assert {line.split(": ", 2)[2] for line in lines} == {"not a picture that Pillow can read"}


@pytest.mark.parametrize("kind", ["tars", "parquet"])
def test_tars_and_parquet_give_the_rows_of_the_folder(
    kind: str, whole: dict[str, Any], ray_runs: RayRuns, many: Inputs, tmp_path: Path
) -> None:
    ray_runs.run(getattr(many, kind), tmp_path / "out", "--tokens", 12, "--shard-size", SHARD)
    assert rows_of(tmp_path / "out") == whole["read"]


def done(out: Path) -> int:
    return sum(not name.startswith((".", "_")) for name in os.listdir(out)) if out.is_dir() else 0  # noqa: PTH208


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)


def kill_driver(process: "subprocess.Popen[str]", out: Path, random: Random) -> None:
    """Kill a run at a random moment: of its start for every fourth, or after some shards and a while."""
    if random.random() < 0.25:
        time.sleep(random.uniform(0, 3))
    else:
        wanted = done(out) + random.randrange(1, 8)
        wait_for(lambda: done(out) >= wanted, process)
        time.sleep(random.uniform(0, 0.03))
    process.send_signal(signal.SIGKILL)
    process.communicate()


def kill_worker(process: "subprocess.Popen[str]", out: Path, random: Random, ray_runs: RayRuns) -> None:
    """Kill one of a run's workers once there is some progress since the last."""
    wanted = done(out) + random.randrange(1, 6)
    wait_for(lambda: done(out) >= wanted and bool(ray_runs.workers()), process)
    os.kill(random.choice(ray_runs.workers()), signal.SIGKILL)


def test_killed_runs_end_with_every_key_once(
    whole: dict[str, Any], ray_runs: RayRuns, many: Inputs, tmp_path: Path
) -> None:
    out, random = tmp_path / "out", Random(16)
    words = (many.folder, out, "--tokens", 12, "--shard-size", SHARD)
    for _ in range(DRIVER_KILLS):
        kill_driver(ray_runs.start(*words), out, random)
    before = done(out)
    assert 0 < before < SHARDS - 40
    last = ray_runs.start(*words)
    for _ in range(WORKER_KILLS):
        kill_worker(last, out, random, ray_runs)
    said, error = last.communicate(timeout=300)
    assert last.returncode == 0, error
    assert before <= json.loads(said)["resumed"] <= before + 2  # a killed driver's two workers may end theirs
    assert rows_of(out) == whole["read"]  # every key once, and the same tokens
    assert sorted(path.name for path in out.iterdir()) == [
        *(f"{number:05d}.parquet" for number in range(SHARDS)),
        "_manifest.json",
    ]


def test_there_and_back(ray_runs: RayRuns, inputs: Inputs, tmp_path: Path) -> None:
    from PIL import Image

    from onedpiece.weights import load

    words = (inputs.tars, tmp_path / "tokens", "--to", "webdataset", "--shard-size", 20)
    first = ray_runs.run(*words)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "tokens").glob("*.tar")}
    again = ray_runs.run(*words)  # and a finished run is left as it is
    assert (first["new_pictures"], again["new_pictures"], again["resumed"]) == (48, 0, 4)
    assert again["errors"] == first["errors"] == 2
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "tokens").glob("*.tar")} == times
    record = ray_runs.run(tmp_path / "tokens", tmp_path / "pictures", "--decode")
    assert (record["pictures"], record["errors"]) == (48, 2)
    codec = load(ray_runs.model)
    made = sorted((tmp_path / "pictures").glob("*/*/*.png"))
    assert len(made) == 46
    key = next(key for key, data in inputs.pictures.items() if data != b"no picture")
    expected = codec.decode(codec.encode(inputs.folder / key, tiles=False))
    (found,) = [path for path in made if path.stem == Path(key).stem]
    assert Image.open(found).tobytes() == expected.tobytes()
