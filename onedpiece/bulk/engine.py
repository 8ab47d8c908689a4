"""Units of work through an actor pool of Ray Data, on this machine or on a cluster."""

import logging
import os
import pickle
import resource
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from onedpiece._files import ERROR_LENGTH, one_line
from onedpiece.bulk.options import Cluster
from onedpiece.bulk.shards import TRIES_ENDING, Shard, name_of
from onedpiece.bulk.storage import Folder
from onedpiece.bulk.units import Unit
from onedpiece.errors import BulkError, MissingExtraError

TRIES = 8
"""Times that a run begins a unit whose worker dies at it, before it is given up."""

_PATIENCE = 10  # seconds for a machine to answer

_STORE_BYTES = 200 << 20  # of a local Ray's object store: units and records are small


class Record(NamedTuple):
    """How one unit went.

    Attributes:
        number: the unit's.
        counts: pictures, rows, errors, tokens and bytes; empty where it failed.
        failures: key and error of its first failed rows.
        error: why there is no shard; None where there is one.
        started: when the actor took it up, in seconds since the epoch.
        ended: when it was done.
        cpu_seconds: of a core that it took.
        peak_mib: the most memory that the actor has taken so far.
    """

    number: int
    counts: dict[str, int]
    failures: list[tuple[str, str]]
    error: str | None
    started: float
    ended: float
    cpu_seconds: float
    peak_mib: float


class Worker(Protocol):
    """What an actor holds: it makes one shard of each unit, in its folder."""

    folder: Folder

    def work(self, unit: Unit) -> Shard:
        """Make the shard of a unit, and return it with its counts."""


class WorkerClass(NamedTuple):
    """A class of workers by its name, which the actors import: the process that drives them need not."""

    module: str
    name: str


class UnitActor:
    """A worker inside a Ray actor.

    Args:
        worker: its class.
        arguments: what makes one.
    """

    def __init__(self, worker: WorkerClass, arguments: tuple[Any, ...]) -> None:
        self.worker: Worker = getattr(import_module(worker.module), worker.name)(*arguments)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Make the shard of the one unit in a batch of Ray Data."""
        return {"record": [pickle.dumps(self._record(pickle.loads(batch["unit"][0])))]}

    def _record(self, unit: Unit) -> Record:
        started, cpu, counts, failures, error = time.time(), time.process_time(), {}, [], None
        try:
            with _counting_tries(self.worker.folder, unit):
                shard = self.worker.work(unit)
            counts, failures = dict(shard.counts), shard.failures
        except Exception as raised:  # the other units go on, and this one is begun anew by the next run
            error = one_line(raised, named=not isinstance(raised, OSError | ValueError))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        cpu = time.process_time() - cpu
        return Record(unit.number, counts, failures, error, started, time.time(), cpu, peak)


@contextmanager
def _counting_tries(folder: Folder, unit: Unit) -> Iterator[None]:
    """Leave a note while a unit is at work, by which the next worker knows how many died at it.

    Ray begins a task anew for as long as its workers die: a picture that takes its decoder with it would
    keep a run from ever ending.

    Raises:
        BulkError: too many did.
    """
    name = f".{name_of(unit.number)}{TRIES_ENDING}"
    tries = int(folder.read(name) or 0)
    try:
        if tries >= TRIES:
            raise BulkError(f"{tries} workers died at it: a picture kills its decoder, or memory is short")
        with folder.writing(name) as note:
            note.write(str(tries + 1).encode())
        yield
    finally:
        folder.remove(name)


def run_units(
    units: Sequence[Unit], worker: WorkerClass, arguments: tuple[Any, ...], cluster: Cluster
) -> Iterator[Record]:
    """Have actors make the shards of all units, and yield how each went as it is done.

    A unit whose worker dies is begun anew by another; one that outlives none of them has no record.

    Args:
        units: what is to be done.
        worker: makes shards.
        arguments: what makes one; batch, threads and device are added.
        cluster: where.

    Raises:
        BulkError: Ray cannot be reached, has no cards, or an actor cannot start.
        MissingExtraError: it is not installed.
    """
    ray = _ray()
    with _connected(ray, cluster):
        size, cpus = _pool(ray, cluster, len(units))
        items = [{"unit": pickle.dumps(unit)} for unit in units]
        # One unit a block and a block a task: its record comes as soon as it is done.
        dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            UnitActor,
            fn_constructor_args=(worker, (*arguments, cluster.batch, cpus, cluster.device)),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
            num_cpus=cpus,
            num_gpus=cluster.num_gpus or None,
        )
        try:
            for row in dataset.iter_rows():
                yield pickle.loads(row["record"])
        except Exception as error:  # Ray's own, and what an actor raised where it began
            raise BulkError(f"Ray stopped: {_last_line(error)}; the same command goes on") from error


def _last_line(error: BaseException) -> str:
    """Return what an actor raised: Ray's errors end with it, below the traceback."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[-1].split())[:ERROR_LENGTH] if lines else type(error).__name__


def _ray() -> Any:
    # What is used is nobody's business, unless the user says otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray, data = import_module("ray"), import_module("ray.data")
    except ImportError as error:
        raise MissingExtraError("bulk needs an extra: pip install 'onedpiece[bulk]'") from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # a unit that takes its workers with it costs no other
    return ray


@contextmanager
def _connected(ray: Any, cluster: Cluster) -> Iterator[None]:
    """Be in a Ray: the one that the process is in already, or one for as long as the block lasts."""
    if ray.is_initialized():
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        if cluster.address is None:
            local = {"num_cpus": cluster.concurrency, "object_store_memory": _STORE_BYTES}
            ray.init("local", include_dashboard=False, **local, **quiet)
        else:
            check_reachable(cluster.address)
            ray.init(cluster.address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BulkError(f"no Ray at {cluster.address or 'this machine'}: {one_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def check_reachable(address: str) -> None:
    """Raise BulkError if nobody answers at HOST:PORT, where Ray itself would go on asking.

    Raises:
        BulkError: see above; or it is no such address.
    """
    host, _, port = address.rpartition(":")
    if address == "auto" or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), _PATIENCE).close()
    except (OSError, ValueError, OverflowError) as error:
        text = one_line(error)
        raise BulkError(
            f"no Ray answers at {address} ({text}); give auto, or what ray start prints"
        ) from None


def _pool(ray: Any, cluster: Cluster, units: int) -> tuple[int, int]:
    """Return how many actors there are to be, and how many cores each takes.

    Raises:
        BulkError: cards are asked for, and the cluster has too few.
    """
    there = ray.cluster_resources()
    cpus, cards = int(there.get("CPU", 1)), float(there.get("GPU", 0))
    size = cluster.concurrency or (int(cards / cluster.num_gpus) if cluster.num_gpus else cpus)
    if size < 1:
        raise BulkError(f"num_gpus is {cluster.num_gpus:g}, and this Ray has {cards:g}; 0 takes cores")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return min(size, units), cores_beside_cards(nodes, cluster.num_gpus) if cluster.num_gpus else 1


def cores_beside_cards(nodes: Sequence[dict[str, float]], num_gpus: float) -> int:
    """Return how many cores an actor of so many cards can have on each machine that has cards; 1 or more."""
    shares = [
        node.get("CPU", 1) / (node["GPU"] / num_gpus) for node in nodes if node.get("GPU", 0) >= num_gpus
    ]
    return max(1, int(min(shares, default=1)))
