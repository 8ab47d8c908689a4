"""Files that appear whole or not at all, and errors in one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

ERROR_LENGTH = 300
"""Characters of somebody else's error that are worth showing."""


@contextmanager
def atomic_path(path: str | PathLike[str]) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes that name when the block ends without an error.

    An older file stays until then, and after an error. Behind a symbolic link the file is replaced, not the
    link. A device or a named pipe cannot be replaced: there the path itself is given.

    Args:
        path: the file to be; its folder exists.

    Raises:
        OSError: as writing and renaming do.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        yield path
        return
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{token_hex(8)}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    """Open `path` for writing bytes, as `atomic_path`."""
    with atomic_path(path) as partial:
        try:
            file = partial.open("wb")
        except OSError as error:
            error.filename = str(path)  # what the caller named
            raise
        with file:
            yield file


def atomic_write_bytes(path: str | PathLike[str], data: bytes) -> None:
    """Write a whole file of bytes, as `atomic_path`."""
    with atomic_write(path) as file:
        file.write(data)


def atomic_write_text(path: str | PathLike[str], text: str) -> None:
    """Write a whole file of UTF-8 text, line ends as they are, as `atomic_path`."""
    atomic_write_bytes(path, text.encode())


def one_line(error: BaseException, *, named: bool = False) -> str:
    """Return what an error says, in one line of at most `ERROR_LENGTH` characters.

    Args:
        error: whoever raised it.
        named: put the name of its type in front; an error without words is its type's name in any case.
    """
    text = " ".join(str(error).split())[:ERROR_LENGTH]
    name = type(error).__name__
    return f"{name}: {text}" if named and text else text or name
