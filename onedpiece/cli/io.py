"""Bytes in and out: which input becomes which output, and files that appear whole or not at all."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from onedpiece._files import atomic_write_bytes
from onedpiece.codec.find import ENDINGS, find_images
from onedpiece.errors import OnedpieceError

STREAM = "-"  # standard input, or standard output

CODES = frozenset({".odp"})


class OutputError(OnedpieceError):
    """An output could not be written; the input is not to blame."""


class LostStdoutError(Exception):
    """Standard output is gone, and the verb with it: a closed pipe, a full disk. The cause is the OSError."""


@contextmanager
def reading(source: str, *, seekable: bool = False) -> Iterator[BinaryIO]:
    """Open an input for reading bytes; standard input is read to its end where it must be `seekable`."""
    if source != STREAM:
        with Path(source).open("rb") as file:
            yield file
    elif sys.stdin is None:
        raise ValueError("standard input is closed; name a file")
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
        atomic_write_bytes(target, data)
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
    if sys.stdout is None:  # closed by whoever started us, who does not want to hear
        return
    try:
        sys.stdout.write(line + "\n")
    except OSError as error:
        raise LostStdoutError from error


def printable(text: str) -> str:
    """Return a name or message with its control characters escaped: it can neither colour nor fake a line."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _write_stdout(data: bytes) -> None:
    if sys.stdout is None:
        raise OutputError("standard output is closed; name a file with -o")
    if sys.stdout.isatty():
        raise ValueError("standard output is a terminal; name a file with -o")
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise LostStdoutError from error


class Job(NamedTuple):
    """One input and its output: a path, or `-`."""

    source: str
    target: str


def expand(inputs: Sequence[str], extensions: frozenset[str]) -> list[str]:
    """Return the inputs, with the files of those extensions that lie in it for every folder, sorted.

    Raises:
        ValueError: a name is empty, a folder holds none, or standard input is one of several.
    """
    if "" in inputs:
        raise ValueError("an input's name is empty; name a file or a folder (. is the one you are in)")
    if STREAM in inputs and len(inputs) > 1:
        raise ValueError("- (standard input) cannot be one of several inputs; give it alone")
    sources = [source for name in inputs for source in _files_of(name, extensions)]
    return list(
        {source if source == STREAM else Path(source).resolve(): source for source in sources}.values()
    )


def plan(
    inputs: Sequence[str],
    out: str | None,
    suffix: str,
    extensions: frozenset[str],
    *,
    keep_existing: bool = False,
    skip_existing: bool = False,
    option: str = "-o",
) -> list[Job]:
    """Return a job for every input, and make the folder that is named for the outputs of many.

    Args:
        inputs: files, folders, or `-` alone.
        out: the output file, `-`, or the folder for many; None: beside each input, under `suffix`.
        suffix: what takes the place of the input's extension where the output is not named.
        extensions: which files of a folder count.
        keep_existing: refuse to replace a file that stands where the output was not named.
        skip_existing: leave out the jobs whose output is there: outputs appear whole, so that it is done.
        option: what names the output on the command line, for messages.

    Raises:
        ValueError: the outputs cannot be told apart, would replace an input, or make no sense.
        OSError: the folder cannot be made.
    """
    sources = expand(inputs, extensions)
    if out == "":
        raise ValueError(f"the output's name is empty; name a file with {option}, or leave it out")
    many = len(inputs) > 1 or (inputs[0] != STREAM and Path(inputs[0]).is_dir())
    into_folder = out not in (None, STREAM) and (Path(str(out)).is_dir() or str(out).endswith("/"))
    if many or into_folder:
        jobs = _told_apart([Job(source, _into(out, source, suffix)) for source in sources], suffix)
    else:
        jobs = [Job(source, _beside(source, suffix) if out is None else out) for source in sources]
    _check_targets(jobs, option)
    if suffix == ".odp":
        _check_no_picture(jobs)
    if skip_existing:
        jobs = [job for job in jobs if job.target == STREAM or not Path(job.target).exists()]
    elif keep_existing and out is None:
        _check_free(jobs)
    if (many or into_folder) and out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
    return jobs


def _files_of(name: str, extensions: frozenset[str]) -> list[str]:
    if name == STREAM or not Path(name).is_dir():
        return [name]
    paths, left_out = find_images(name, endings=extensions)
    for path, reason in left_out:
        sys.stderr.write(f"onedpiece: {printable(str(path))}: left out: {reason}\n")
    if not paths:
        raise ValueError(f"{name} holds no file that ends in {', '.join(sorted(extensions))}")
    return [str(path) for path in paths]


def _beside(source: str, suffix: str) -> str:
    return STREAM if source == STREAM else str(Path(source).with_suffix(suffix))


def _into(folder: str | None, source: str, suffix: str) -> str:
    if folder is None:
        return _beside(source, suffix)
    if folder == STREAM:
        raise ValueError("many files cannot go to standard output; name a folder with -o")
    if source == STREAM:
        raise ValueError(f"{folder} is a folder, and standard input has no name; name the file with -o")
    if Path(folder).exists() and not Path(folder).is_dir():
        raise ValueError(f"{folder} is a file; many outputs need a folder")
    return str(Path(folder) / Path(source).with_suffix(suffix).name)


def _told_apart(jobs: Sequence[Job], suffix: str) -> list[Job]:
    """Give outputs that would be one their inputs' endings: a.jpg.odp and a.png.odp, not a.odp twice."""
    counts = Counter(job.target for job in jobs)
    return [job if counts[job.target] == 1 else Job(job.source, _with_ending(job, suffix)) for job in jobs]


def _with_ending(job: Job, suffix: str) -> str:
    return str(Path(job.target).with_name(Path(job.source).name + suffix))


def _check_no_picture(jobs: Iterable[Job]) -> None:
    for _, target in jobs:
        if Path(target).suffix.lower() in ENDINGS and Path(target).exists():
            raise ValueError(f"{target} is there and named as a picture; end the output in .odp")


def _check_targets(jobs: Iterable[Job], option: str) -> None:
    sources = {Path(job.source).resolve(): job.source for job in jobs if job.source != STREAM}
    seen: dict[Path, str] = {}
    for source, target in jobs:
        if target == STREAM:
            continue
        place = Path(target).resolve()
        if place in sources:
            raise ValueError(f"{target} is an input; name another output with {option}")
        if place in seen:
            raise ValueError(
                f"{seen[place]} and {source} would both be written to {target}; do one at a time"
            )
        seen[place] = source


def _check_free(jobs: Iterable[Job]) -> None:
    for _, target in jobs:
        if target != STREAM and Path(target).exists():
            raise ValueError(f"{target} is already there, perhaps the original; name the output with -o")
