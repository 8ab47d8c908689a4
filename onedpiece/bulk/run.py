"""Whole runs: pictures to tokens, and tokens to pictures, from where the last run was cut short."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from onedpiece.bulk.engine import Record, WorkerClass, run_units
from onedpiece.bulk.manifest import Manifest, begin, finish
from onedpiece.bulk.options import SHARD_SIZE, Cluster, DecodeOptions, EncodeOptions
from onedpiece.bulk.storage import Folder, find_files, is_folder, open_file
from onedpiece.bulk.units import PARQUETS, Columns, Listing, Unit, list_units
from onedpiece.codes import ROWS, pyarrow, read_info
from onedpiece.errors import BulkError, WrongModelError
from onedpiece.weights.identity import ModelIdentity, identify

ENCODER = WorkerClass("onedpiece.bulk.encode", "Encoder")
DECODER = WorkerClass("onedpiece.bulk.decode", "Decoder")


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: pictures that are done, of this run and of those before it; shards, where their sizes are
            not known before they are read.
        total: of them all.
        per_second: pictures a second of this run, since the first was taken up.
        errors: rows without tokens, of this run.
        record: of the unit that was just done; None at the start.
    """

    done: int
    total: int
    per_second: float
    errors: int
    record: Record | None = None


@dataclass(frozen=True)
class Summary:
    """A finished run.

    Attributes:
        counts: pictures, rows, errors, tokens and bytes of all shards.
        shards: how many there are.
        resumed: how many of them were there before.
        new_pictures: what this run did.
        seconds: that it took, all in all.
        work_seconds: from the first unit that was taken up to the last that was done.
        cpu_seconds: of a core that its actors took for the pictures.
        peak_mib: the most memory that any of its actors took.
    """

    counts: dict[str, int]
    shards: int
    resumed: int
    new_pictures: int
    seconds: float
    work_seconds: float
    cpu_seconds: float
    peak_mib: float

    @property
    def per_second(self) -> float:
        """Pictures a second of this run while it worked."""
        return self.new_pictures / self.work_seconds if self.work_seconds else 0.0


Tell = Callable[[Progress], None]


def tokenize(
    inputs: Sequence[str],
    out: str,
    options: EncodeOptions = EncodeOptions(),  # noqa: B008 (frozen, as below)
    *,
    model: str | None = None,
    columns: Columns = Columns(),  # noqa: B008
    shard_size: int = SHARD_SIZE,
    cluster: Cluster = Cluster(),  # noqa: B008
    overwrite: bool = False,
    tell: Tell = lambda progress: None,
    note: Callable[[str], None] = lambda line: None,
) -> Summary:
    """Tokenize pictures in bulk, or go on with a run that was cut short.

    Args:
        inputs: as `list_units` takes them.
        out: the folder of the shards, a path or an address.
        options: what is asked of every picture.
        model: as `onedpiece.load` takes it; every node must find it under this name.
        columns: of Parquet inputs.
        shard_size: pictures a shard.
        cluster: where the work is done.
        overwrite: start anew where a run is.
        tell: told of every unit that is done.
        note: told of what was left out.

    Raises:
        ValueError, OSError: an input is not there, or is of no known kind; or an option makes no sense.
        OtherRunError: the folder is another run's, or holds something else.
        BulkError: Ray cannot work, or shards could not be made.
        WeightsError: there is no such model.
        MissingExtraError: Ray or pyarrow is not installed.
    """
    card = identify(model)
    if options.target.tokens is not None and not 1 <= options.target.tokens <= card.num_tokens:
        raise ValueError(f"tokens is {options.target.tokens}; {card.name} takes 1 to {card.num_tokens}")
    listing = list_units(inputs, shard_size, columns, out)
    for line in listing.notes:
        note(line)
    asked = asdict(options.target) | asdict(options) | {"shard_size": shard_size, **columns._asdict()}
    del asked["target"], asked["layout"]
    manifest = Manifest("encode", _input_of(listing), _model_of(card), asked, options.layout)
    run = _Run(Folder(out), manifest, listing, tell)
    return run.run(ENCODER, (run.folder.address, card.name, options), cluster, overwrite=overwrite)


def decode(
    inputs: Sequence[str],
    out: str,
    options: DecodeOptions = DecodeOptions(),  # noqa: B008
    *,
    model: str | None = None,
    cluster: Cluster = Cluster(),  # noqa: B008
    overwrite: bool = False,
    tell: Tell = lambda progress: None,
) -> Summary:
    """Decode shards of tokens to pictures, a folder of them for each shard, or go on with such a run.

    Args:
        inputs: folders that `tokenize` wrote, or Parquet files of them.
        out: the folder of the pictures, a path or an address.
        options: how rows become pictures.
        model: as in `tokenize`; it must be of the tokens' code space.
        cluster: where the work is done.
        overwrite: start anew where a run is.
        tell: told of every unit that is done.

    Raises:
        CacheError: an input holds no tokens.
        WrongModelError: the tokens are another model's.
        ValueError, OSError, OtherRunError, BulkError, WeightsError, MissingExtraError: as `tokenize`.
    """
    card = identify(model)
    listing = Listing()
    for number, address in enumerate(_shards_of(inputs, out)):
        listing.units.append(_unit_of(address, number, card))
    manifest = Manifest("decode", _input_of(listing), _model_of(card), asdict(options), "tree")
    run = _Run(Folder(out), manifest, listing, tell)
    return run.run(DECODER, (run.folder.address, card.name, options), cluster, overwrite=overwrite)


def _input_of(listing: Listing) -> dict[str, Any]:
    return {"digest": listing.digest(), "units": len(listing.units), "pictures": listing.pictures}


def _model_of(card: ModelIdentity) -> dict[str, Any]:
    return {"name": card.name, "code_space": card.fingerprint, "digest": card.digest}


def _shards_of(inputs: Sequence[str], out: str) -> list[str]:
    shards = []
    for name in inputs:
        if not is_folder(name):
            shards.append(name)
            continue
        rows = f"{name.rstrip('/')}/{ROWS}"
        found = find_files(rows if is_folder(rows) else name, PARQUETS, lambda line: None, out)
        if not found:
            raise ValueError(f"{name} holds no .parquet file; give a folder that onedpiece bulk wrote")
        shards += [each.address for each in found]
    return shards


def _unit_of(address: str, number: int, card: ModelIdentity) -> Unit:
    _, parquet = pyarrow()
    with open_file(address) as file:
        info = read_info(file, address)
        rows = parquet.ParquetFile(file).metadata.num_rows
    if info.code_space != card.fingerprint:
        raise WrongModelError(
            f"{address} holds tokens of code space {info.code_space}, {card.name} is {card.fingerprint}; "
            "decode it with the model that made it"
        )
    return Unit(number, "parquet", address, pictures=rows)


class _Run:
    """One run over the units of a listing that have no shard yet."""

    def __init__(self, folder: Folder, manifest: Manifest, listing: Listing, tell: Tell) -> None:
        self.folder, self.manifest, self.listing, self.tell = folder, manifest, listing, tell
        self.done: set[int] = set()
        self.counts: Counter[str] = Counter()
        self.started, self.ended, self.cpu_seconds, self.peak_mib = inf, 0.0, 0.0, 0.0

    def run(
        self, worker: WorkerClass, arguments: tuple[Any, ...], cluster: Cluster, *, overwrite: bool
    ) -> Summary:
        began = time.time()
        self.done = begin(self.folder, self.manifest, overwrite=overwrite)
        resumed = len(self.done)
        units = [unit for unit in self.listing.units if unit.number not in self.done]
        whole = self._size([unit for unit in self.listing.units if unit.number in self.done])
        failed = {unit.number: "its workers died" for unit in units}
        self._tell(whole, None)
        for record in run_units(units, worker, arguments, cluster) if units else ():
            if record.number not in failed:
                continue  # Ray did it twice
            if record.error is None:
                del failed[record.number]
                self._count(record)
                whole += 1 if self.listing.pictures is None else record.counts["pictures"]
            else:
                failed[record.number] = record.error
            self._tell(whole, record)
        if failed:
            raise _incomplete(self.listing.units, failed)
        counts = finish(self.folder, self.manifest, (unit.number for unit in self.listing.units))
        return Summary(
            counts,
            len(self.listing.units),
            resumed,
            self.counts["pictures"],
            time.time() - began,
            max(0.0, self.ended - self.started),
            self.cpu_seconds,
            self.peak_mib,
        )

    def _size(self, units: Sequence[Unit]) -> int:
        """Return how many pictures, or else how many units, that is."""
        return len(units) if self.listing.pictures is None else sum(unit.pictures or 0 for unit in units)

    def _count(self, record: Record) -> None:
        self.counts.update(record.counts)
        self.started, self.ended = min(self.started, record.started), max(self.ended, record.ended)
        self.cpu_seconds += record.cpu_seconds
        self.peak_mib = max(self.peak_mib, record.peak_mib)

    def _tell(self, whole: int, record: Record | None) -> None:
        seconds = max(0.0, self.ended - self.started)
        speed = self.counts["pictures"] / seconds if seconds else 0.0
        self.tell(Progress(whole, self._size(self.listing.units), speed, self.counts["errors"], record))


def _incomplete(units: Sequence[Unit], failed: dict[int, str]) -> BulkError:
    number, why = min(failed.items())
    more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    return BulkError(
        f"{len(failed)} of {len(units)} shards could not be made: shard {number}: {why}{more}; "
        "the others are kept, and the same command goes on"
    )
