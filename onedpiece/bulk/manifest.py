"""A run's manifest: what its shards were made of and how, so that nothing else is mixed in later."""

import json
import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from onedpiece.bulk.shards import TRIES_ENDING, Layout, finished, name_of, read_counts, row_folder
from onedpiece.bulk.storage import Folder
from onedpiece.codes import ROWS
from onedpiece.errors import OtherRunError

NAME = "_manifest.json"
"""The file, which readers of a folder of Parquet pass over for its underscore."""

FORMAT = 1
_SOFTWARE = ("onedpiece", "torch", "pillow", "numpy", "pyarrow", "ray")


def versions() -> dict[str, str]:
    """Return what the run's software is, by name."""
    return {"python": platform.python_version()} | {name: version(name) for name in _SOFTWARE}


@dataclass(frozen=True)
class Manifest:
    """What makes a run this run.

    Attributes:
        task: "encode" or "decode".
        input: digest, units, and pictures where known.
        model: name, code space and digest of the weights.
        options: all that changes what is written.
        layout: of the shards.
        versions: of the software that began it.
    """

    task: str
    input: dict[str, Any]
    model: dict[str, Any]
    options: dict[str, Any]
    layout: Layout
    versions: dict[str, str] = field(default_factory=versions)

    def to_json(self, **more: Any) -> bytes:
        """Return it as the file holds it, with what is known at the end."""
        return (json.dumps({"format": FORMAT, **asdict(self), **more}, indent=1) + "\n").encode()


def begin(folder: Folder, manifest: Manifest, *, overwrite: bool = False) -> set[int]:
    """Start a run in a folder, or go on with the same one, and return which shards are done.

    Args:
        folder: of the outputs.
        manifest: of what is to be done.
        overwrite: remove the shards of the run that is there, and start anew.

    Raises:
        OtherRunError: the folder is another run's, or holds something else; the message says what differs.
        OSError: it cannot be written.
    """
    stored = folder.read(NAME)
    if stored is None:
        if folder.names() or folder.folders():
            raise OtherRunError(f"{folder.address} holds files, and no run to go on with; name a new folder")
    elif overwrite:
        _clear(folder)
        stored = None
    if stored is None:
        _write(folder, manifest.to_json(state="begun"))
        return set()
    _check(folder, _read(folder, stored), manifest)
    folder.remove_partial(row_folder(manifest.layout))
    for name in folder.names():
        if name.endswith(TRIES_ENDING):
            folder.remove(name)
    return finished(folder, manifest.layout)


def finish(folder: Folder, manifest: Manifest, numbers: Iterable[int]) -> dict[str, int]:
    """Write the manifest with the counts of all shards, of this run and of those before it; return them."""
    counts: Counter[str] = Counter(pictures=0, rows=0, errors=0, tokens=0, bytes=0)
    for number in sorted(numbers):
        counts.update(read_counts(folder, number, manifest.layout))
    folder.remove_partial(row_folder(manifest.layout))  # of workers that died in this run
    began = _read(folder, folder.read(NAME) or b"")
    first = began.get("begun_with", began["versions"])
    more = {} if first == manifest.versions else {"begun_with": first}
    _write(folder, manifest.to_json(state="finished", counts=counts, **more))
    return dict(counts)


def _write(folder: Folder, data: bytes) -> None:
    with folder.writing(NAME) as stream:
        stream.write(data)


def _read(folder: Folder, stored: bytes) -> dict[str, Any]:
    try:
        plain = json.loads(stored)
        if plain.pop("format") == FORMAT:
            return dict(plain)
    except (ValueError, KeyError, AttributeError, TypeError):
        pass
    raise OtherRunError(f"{folder.address}/{NAME} cannot be read; start anew with --overwrite")


def _check(folder: Folder, found: dict[str, Any], asked: Manifest) -> None:
    """Raise OtherRunError unless the folder's run is the one that is asked for."""
    plain = json.loads(asked.to_json())
    differing = [
        f"{part} {name} {found.get(part, {}).get(name)!r}, not {value!r}"
        for part in ("input", "model", "options")
        for name, value in plain[part].items()
        if name != "name" and found.get(part, {}).get(name) != value
    ]
    for name in ("layout", "task"):
        if found.get(name) != plain[name]:
            differing.insert(0, f"{name} {found.get(name)}, not {plain[name]}")
    if differing:
        raise OtherRunError(
            f"{folder.address} was begun with {'; '.join(differing)}: go on as it was begun, name a new "
            "folder, or start anew with --overwrite"
        )


def _clear(folder: Folder) -> None:
    """Remove a run's shards, whatever its layout; files of others stay."""
    folder.remove(NAME)
    for name in folder.names():
        if name.partition(".")[0].isdigit() and name.endswith((".parquet", ".tar")):
            folder.remove(name)
    for name in folder.folders():
        if name == ROWS or (name.isdigit() and name == name_of(int(name))):
            folder.remove(name)
    folder.remove_partial()
