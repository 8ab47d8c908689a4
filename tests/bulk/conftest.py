"""A tiny model in a folder, small pictures as folders, tars and Parquet, and one Ray for all runs."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from PIL import Image

from onedpiece.tokenizer import Tokenizer
from onedpiece.weights import save

ROOT = Path(__file__).resolve().parents[2]
SEVERAL = 48
MANY, BROKEN = 2000, 40

HOLD_RAY = """
import logging, sys, ray
ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False,
         logging_level=logging.CRITICAL, _node_ip_address="127.0.0.1")
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def model(stirred_tokenizer: Callable[..., Tokenizer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model: 16 tokens on 32×32 pixels."""
    return save(stirred_tokenizer(), tmp_path_factory.mktemp("model"))


def draw(count: int, broken: int, data: Path) -> dict[str, bytes]:
    """Encoded pictures by their keys, in order; each crop of 32 to 64 pixels a side, in two folders."""
    photo = Image.open(data / "astronaut.png").convert("RGB")
    random = Random(0)
    bad = set(random.sample(range(count), broken))
    pictures = {}
    for i in range(count):
        left, top = random.randrange(190), random.randrange(190)
        file = BytesIO()
        box = (left, top, left + random.randrange(32, 65), top + random.randrange(32, 65))
        photo.crop(box).save(file, "JPEG", quality=90)
        key = f"{'ab'[i * 2 // count]}/{i:05d}.jpg"
        pictures[key] = b"no picture" if i in bad else file.getvalue()
    return pictures


class Inputs(NamedTuple):
    """The same pictures three times.

    Attributes:
        pictures: encoded, by key.
        folder: a tree of files.
        tars: a folder of four shards.
        parquet: one file of row groups of ten.
    """

    pictures: dict[str, bytes]
    folder: Path
    tars: Path
    parquet: Path


def lay_out(pictures: dict[str, bytes], root: Path) -> Inputs:
    import pyarrow as pa
    from pyarrow import parquet

    inputs = Inputs(pictures, root / "folder", root / "tars", root / "all.parquet")
    inputs.tars.mkdir(parents=True)
    keys = list(pictures)
    for key, data in pictures.items():
        path = inputs.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    part = len(keys) // 4
    for at in range(4):
        with tarfile.open(inputs.tars / f"{at:03d}.tar", "w") as tar:
            for key in keys[at * part : (at + 1) * part]:
                for name, content in ((key, pictures[key]), (key.replace(".jpg", ".json"), b"{}")):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, BytesIO(content))
    table = pa.table({"key": keys, "image": pa.array(pictures.values(), pa.binary())})
    parquet.write_table(table, inputs.parquet, row_group_size=10)
    return inputs


@pytest.fixture(scope="session")
def inputs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """48 pictures, two of them broken."""
    return lay_out(draw(SEVERAL, 2, data), tmp_path_factory.mktemp("several"))


@pytest.fixture(scope="session")
def many(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """2,000 pictures, 40 of them broken."""
    return lay_out(draw(MANY, BROKEN, data), tmp_path_factory.mktemp("many"))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """All rows of a run, sorted by key; tokens as lists."""
    from pyarrow import parquet

    from onedpiece.codes import find_shards

    tables = [parquet.read_table(path) for path in find_shards(folder)]
    rows = [row for table in tables for row in table.to_pylist()]
    return sorted(rows, key=lambda row: (row["key"], row["box"] or []))


class RayRuns:
    """Runs of `onedpiece bulk` as processes of their own, all in one Ray of two workers."""

    def __init__(self, address: str, model: Path, token: str) -> None:
        self.address, self.model, self.token = address, model, token

    def start(self, *words: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "onedpiece", "bulk", *map(str, words)]
        command += ["--model", str(self.model), "--address", self.address, "--json"]
        return subprocess.Popen(
            command, cwd=ROOT, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def run(self, *words: object) -> dict[str, Any]:
        """Run to the end, and return what --json says."""
        out, err = self.start(*words).communicate(timeout=300)
        assert out, err
        record: dict[str, Any] = json.loads(out)
        return record | {"stderr": err}

    def workers(self) -> list[int]:
        """The processes of the actors that work now."""
        return [pid for pid in pids() if is_actor(pid, self.token)]


def environment() -> dict[str, str]:
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    # Ray's workers are as nice as can be, and would wait for whatever else a machine does.
    return os.environ | quiet | {"RAY_worker_niceness": "0", "PYTHONPATH": str(ROOT)}


def pids() -> Sequence[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def is_actor(pid: int, token: str) -> bool:
    """Say whether a process is an actor of the Ray that was started with this token."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return (
            command.startswith(b"ray::MapWorker")
            and token.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        )
    except OSError:
        return False


@pytest.fixture(scope="session")
def ray_runs(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayRuns]:
    """One Ray for all tests, which ends with them however they end: it waits for its standard input."""
    pytest.importorskip("ray")
    token = f"onedpiece-test-{os.getpid()}"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_RAY],
        env=environment() | {"ONEDPIECE_TEST": token},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        yield RayRuns(holder.stdout.readline().strip(), model, token)
        holder.stdin.close()
        holder.wait(timeout=60)
