"""Bytes in and out: files that appear whole or not at all, standard input and output."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from onedpiece.cli.failure import LostStdoutError, OutputError
from onedpiece.cli.job import STREAM


@contextmanager
def reading(source: str, *, seekable: bool = False) -> Iterator[BinaryIO]:
    """Open an input for reading bytes; standard input is read to its end where it must be `seekable`."""
    if source != STREAM:
        with Path(source).open("rb") as file:
            yield file
    elif seekable:
        yield BytesIO(sys.stdin.buffer.read())
    else:
        yield sys.stdin.buffer


def write(target: str, data: bytes) -> None:
    """Write a whole output: to standard output, or as a file that is complete from the moment it is there.

    Raises:
        ValueError: standard output is a terminal.
        OutputError: the file cannot be written.
        LostStdoutError: standard output cannot.
    """
    if target == STREAM:
        _write_stdout(data)
        return
    try:
        _write_file(Path(target), data)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}") from error


def say(line: str, *, aside: bool = False) -> None:
    """Print a line to standard output, or aside to standard error where a file goes to the other.

    Raises:
        LostStdoutError: standard output cannot be written.
    """
    if aside:
        sys.stderr.write(line + "\n")
        return
    try:
        sys.stdout.write(line + "\n")
    except OSError as error:
        raise LostStdoutError from error


def _write_stdout(data: bytes) -> None:
    if sys.stdout.isatty():
        raise ValueError("standard output is a terminal; name a file with -o")
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise LostStdoutError from error


def _write_file(path: Path, data: bytes) -> None:
    if path.exists() and not path.is_file():  # a device or a named pipe: not ours to replace
        path.write_bytes(data)
        return
    path = path.resolve()  # the file behind a link is replaced, not the link
    partial = path.with_name(f".{token_hex(8)}.part")
    try:
        with partial.open("xb") as file:
            file.write(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
