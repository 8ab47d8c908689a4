"""Where inputs and outputs lie: local paths, s3:// and gs:// by pyarrow, any other address by fsspec.

An output appears whole or not at all on each of them: it is written under another name, then renamed.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENOENT
from importlib import import_module
from os import strerror
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

from onedpiece._files import one_line
from onedpiece.codec.find import find_images
from onedpiece.errors import MissingExtraError

_PART = re.compile(r"\.[0-9a-f]{16}\.part")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class Place(NamedTuple):
    """A pyarrow file system, and a path in it."""

    system: Any
    path: str


class Found(NamedTuple):
    """A file below a folder: its path from there, with slashes, and its address."""

    name: str
    address: str


def is_address(text: str) -> bool:
    """Say whether it names a scheme, as s3://bucket/key does, and is no local path."""
    return _ADDRESS.match(text) is not None


def resolve(address: str) -> Place:
    """Return where an address or a local path leads.

    Raises:
        ValueError: no library here knows the scheme.
        MissingExtraError: pyarrow or fsspec is not installed.
    """
    try:
        arrow, fsspec = import_module("pyarrow.fs"), import_module("fsspec.core")
    except ImportError as error:
        raise MissingExtraError("bulk needs an extra: pip install 'onedpiece[bulk]'") from error
    if not is_address(address):
        return Place(arrow.LocalFileSystem(), str(Path(address).absolute()))
    try:
        return Place(*arrow.FileSystem.from_uri(address))
    except ValueError:  # ArrowInvalid: a scheme that pyarrow leaves to fsspec
        pass
    try:
        system, path = fsspec.url_to_fs(address)
    except (ValueError, ImportError) as error:
        raise ValueError(f"{address} cannot be opened: {one_line(error)}") from None
    return Place(arrow.PyFileSystem(arrow.FSSpecHandler(system)), path)


def open_file(address: str) -> Any:
    """Open a file for reading bytes at any place of it; a pyarrow file, to be used in a `with` block.

    Raises:
        OSError: it cannot be opened.
    """
    system, path = resolve(address)
    return system.open_input_file(path)


def size_of(address: str) -> int:
    """Return a file's size in bytes; -1 where its server does not tell."""
    system, path = resolve(address)
    size = system.get_file_info(path).size
    return -1 if size is None else int(size)


def check_there(address: str) -> None:
    """Raise FileNotFoundError if nothing is there; of web servers, reading tells.

    Raises:
        FileNotFoundError: see above.
    """
    system, path = resolve(address)
    kind = system.get_file_info(path).type if not _is_web(address) else None
    if kind == import_module("pyarrow.fs").FileType.NotFound:
        raise FileNotFoundError(ENOENT, strerror(ENOENT), address)


def _is_web(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def is_folder(address: str) -> bool:
    """Say whether an address or a path is that of a folder."""
    if _is_web(address):
        return False
    system, path = resolve(address)
    return bool(system.get_file_info(path).type == import_module("pyarrow.fs").FileType.Directory)


def find_files(
    folder: str, endings: frozenset[str], tell: Callable[[str], None], without: str | None = None
) -> list[Found]:
    """List the files of a folder and below it, sorted by name; hidden ones do not count.

    Args:
        folder: an address or a path.
        endings: what a wanted file's name ends in, in lower case.
        tell: told of what looks like a picture and is left out.
        without: a folder whose files do not count, as that of a run's outputs.

    Raises:
        OSError: it cannot be read.
    """
    apart = None if without is None else _inside(folder, without)
    return [
        each for each in _files(folder, endings, tell) if apart is None or not each.name.startswith(apart)
    ]


def _inside(folder: str, other: str) -> str | None:
    """Return what names of files in another folder begin with, if that lies inside of `folder`."""
    if is_address(folder):
        root = f"{folder.rstrip('/')}/"
        return f"{other.rstrip('/').removeprefix(root)}/" if other.startswith(root) else None
    inner, outer = Path(other).resolve(), Path(folder).resolve()
    inside = not is_address(other) and inner != outer and inner.is_relative_to(outer)
    return f"{inner.relative_to(outer).as_posix()}/" if inside else None


def _files(folder: str, endings: frozenset[str], tell: Callable[[str], None]) -> list[Found]:
    if not is_address(folder):
        found = find_images(folder, recursive=True, endings=endings)
        for path, reason in found.left_out:
            tell(f"{path}: left out: {reason}")
        return sorted(Found(path.relative_to(folder).as_posix(), str(path)) for path in found.paths)
    system, root = resolve(folder)
    selector = import_module("pyarrow.fs").FileSelector(root, recursive=True)
    names = [info.path[len(root) :].lstrip("/") for info in system.get_file_info(selector) if info.is_file]
    wanted = [name for name in names if Path(name).suffix.lower() in endings and not _hidden(name)]
    return [Found(name, f"{folder.rstrip('/')}/{name}") for name in sorted(wanted)]


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


class Folder:
    """The folder of a run's outputs.

    Args:
        address: an address or a local path; need not exist.

    Raises:
        ValueError: it cannot be written to, or no library here knows the scheme.
    """

    def __init__(self, address: str) -> None:
        if _is_web(address):
            raise ValueError(f"{address} cannot be written to; name a folder, s3:// or gs://")
        self.address = address if is_address(address) else str(Path(address).absolute())
        self.system, self.path = resolve(address)

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}"

    def names(self, below: str = "") -> list[str]:
        """List the files right in the folder, or in the one `below` it, sorted; temporary ones too."""
        fs = import_module("pyarrow.fs")
        place = self._at(below) if below else self.path
        selector = fs.FileSelector(place, allow_not_found=True)
        return sorted(info.base_name for info in self.system.get_file_info(selector) if info.is_file)

    def folders(self) -> list[str]:
        """List the folders in it, sorted."""
        fs = import_module("pyarrow.fs")
        selector = fs.FileSelector(self.path, allow_not_found=True)
        kinds = self.system.get_file_info(selector)
        return sorted(info.base_name for info in kinds if info.type == fs.FileType.Directory)

    @contextmanager
    def writing(self, name: str) -> Iterator[Any]:
        """Open a file for writing bytes; it takes its name when the block ends well.

        Raises:
            OSError: it cannot be written.
        """
        parent, _, _ = self._at(name).rpartition("/")
        self.system.create_dir(parent, recursive=True)
        partial = f"{parent}/.{token_hex(8)}.part"
        try:
            with self.system.open_output_stream(partial) as stream:
                yield stream
            self.system.move(partial, self._at(name))
        except BaseException:
            if self.system.get_file_info(partial).is_file:
                self.system.delete_file(partial)
            raise

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes; None where there is none."""
        if not self.system.get_file_info(self._at(name)).is_file:
            return None
        with self.system.open_input_file(self._at(name)) as file:
            return bytes(file.read())

    def open(self, name: str) -> Any:
        """Open one of its files for reading bytes, as `open_file`."""
        return self.system.open_input_file(self._at(name))

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it, where there is one."""
        kinds = import_module("pyarrow.fs").FileType
        kind = self.system.get_file_info(self._at(name)).type
        if kind == kinds.File:
            self.system.delete_file(self._at(name))
        elif kind == kinds.Directory:
            self.system.delete_dir(self._at(name))

    def remove_partial(self, *below: str) -> None:
        """Remove what a run that was killed left half written, in the folder and in those `below` it."""
        for folder in ("", *below):
            for name in self.names(folder):
                if _PART.fullmatch(name):
                    self.remove(f"{folder}/{name}" if folder else name)
