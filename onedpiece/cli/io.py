"""Bytes in and out: which input becomes which output, files whole or not at all, and the options for it."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple

import typer

from onedpiece._files import atomic_write_bytes
from onedpiece.codec.find import ENDINGS, find_images
from onedpiece.errors import OnedpieceError

OUT = Annotated[
    str | None,
    typer.Option("-o", "--out", metavar="OUT", help="File, folder for many, or - for standard output."),
]
TOKENS = Annotated[int | None, typer.Option(metavar="K", help="Tokens to keep; all by default.")]
MAX_BYTES = Annotated[
    int | None, typer.Option(metavar="B", help="Keep as many tokens as fit a file of B bytes.")
]
BPP = Annotated[float | None, typer.Option(metavar="R", help="The same, in bits a pixel.")]
PSNR = Annotated[
    float | None, typer.Option(metavar="DB", help="Keep the fewest tokens that reach this PSNR.")
]
SSIM = Annotated[float | None, typer.Option(metavar="S", help="The same for SSIM.")]
LPIPS = Annotated[float | None, typer.Option(metavar="X", help="The same for LPIPS, at most X.")]
BEST_EFFORT = Annotated[
    bool, typer.Option("--best-effort", help="Where a target is out of reach, take the best there is.")
]
MODEL = Annotated[
    str | None, typer.Option(metavar="M", help="A model's name or folder; the bundled one by default.")
]
TABLES = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="M", help="The folder of the model that made it; bundled models need none."
    ),
]
DEVICE = Annotated[str, typer.Option(help="Where the network runs, as torch names it: cpu, cuda, mps.")]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
SKIP_EXISTING = Annotated[
    bool, typer.Option("--skip-existing", help="Leave out inputs whose output is there and no older.")
]
RECURSIVE = Annotated[
    bool, typer.Option("--recursive", "-r", help="Look below the folders too; hidden ones are left out.")
]
CHUNK = 8  # files that go through the network together: more gain little and hold more pixels
CHUNK_PIXELS = 64_000_000  # that fewer files have already: a quarter of a gigabyte


STREAM = "-"  # standard input, or standard output
_STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")  # its names as a file, which no file replaces

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
            yield BytesIO(file.read()) if seekable and not file.seekable() else file
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


def expand(inputs: Sequence[str], extensions: frozenset[str], *, recursive: bool = False) -> list[str]:
    """Return the inputs, with the files of those extensions that lie in it for every folder, sorted.

    With `recursive`, also what lies below it.

    Raises:
        ValueError: a name is empty, a folder holds none, or standard input is one of several.
    """
    return [found.source for found in _found(inputs, extensions, recursive)]


class _Found(NamedTuple):
    """An input, and where it lies below the folder that was named; "" where it was named itself."""

    source: str
    below: str


def _found(inputs: Sequence[str], extensions: frozenset[str], recursive: bool) -> list[_Found]:
    if "" in inputs:
        raise ValueError("an input's name is empty; name a file or a folder (. is the one you are in)")
    if STREAM in inputs and len(inputs) > 1:
        raise ValueError("- (standard input) cannot be one of several inputs; give it alone")
    found = [each for name in inputs for each in _files_of(name, extensions, recursive)]
    return list({_place(each.source): each for each in found}.values())


def _place(source: str) -> str | Path:
    """Return what two names of one file have in common; a link is a file of its own."""
    return source if source == STREAM else Path(os.path.realpath(Path(source).parent)) / Path(source).name


def plan(
    inputs: Sequence[str],
    out: str | None,
    suffix: str,
    extensions: frozenset[str],
    *,
    keep_existing: bool = False,
    skip_existing: bool = False,
    recursive: bool = False,
    option: str = "-o",
) -> list[Job]:
    """Return a job for every input, and make the folder that is named for the outputs of many.

    Args:
        inputs: files, folders, or `-` alone.
        out: the output file, `-` or a name of standard output, or the folder for many; None: beside each
            input, under `suffix`.
        suffix: what takes the place of the input's extension where the output is not named; it follows that
            extension where a file beside the input differs in nothing else: a.jpg.odp, as there is an a.png.
        extensions: which files of a folder count.
        keep_existing: refuse to replace a file beside the input where the output's own name was not given.
        skip_existing: leave out the jobs whose output is there and no older than the input: outputs appear
            whole, so that it is done.
        recursive: take what lies below the folders too, into folders alike.
        option: what names the output on the command line, for messages.

    Raises:
        ValueError: the outputs cannot be told apart, would replace an input, or make no sense.
        OSError: the folder cannot be made.
    """
    out = STREAM if out in _STDOUT else out
    sources = _found(inputs, extensions, recursive)
    folder = _output_folder(inputs, out, suffix, option)
    names = _Names(suffix, extensions, option)
    if folder is not None:
        jobs = [Job(each.source, names.into(folder, each)) for each in sources]
    elif out is not None:
        jobs = [Job(each.source, out) for each in sources]
    else:
        jobs = [Job(each.source, names.beside(each.source)) for each in sources]
    jobs = _told_apart(jobs, suffix)
    _check_targets(jobs, option)
    if suffix.endswith(".odp"):
        _check_no_picture(jobs)
    if skip_existing:
        jobs = [job for job in jobs if not _is_done(job)]
    else:
        if keep_existing and (out is None or folder is not None):
            _check_free(job for job in jobs if _is_beside(job))
        if folder is not None:
            _announce_replaced(jobs)
    if folder is not None:
        for needed in {Path(folder), *(Path(job.target).parent for job in jobs)}:
            needed.mkdir(parents=True, exist_ok=True)
    return jobs


def _output_folder(inputs: Sequence[str], out: str | None, suffix: str, option: str) -> str | None:
    """Return the folder that `out` is or shall be; None where it names one output, or none.

    Raises:
        ValueError: it is empty, or named as one file where there are several inputs.
    """
    if out is None:
        return None
    if out == "":
        raise ValueError(f"the output's name is empty; name a file with {option}, or leave it out")
    if out != STREAM and (Path(out).is_dir() or out.endswith("/")):
        return out
    if len(inputs) == 1 and (inputs[0] == STREAM or not Path(inputs[0]).is_dir()):
        return None
    if not Path(out).exists() and Path(out).suffix.lower() in {suffix, ".odp", *ENDINGS}:
        raise ValueError(
            f"{out} is named as one file, and there are several inputs; name a folder, as {out}/"
        )
    return out


def _is_done(job: Job) -> bool:
    """Say whether the output is there, and was written since the input last changed."""
    if STREAM in job or not Path(job.target).exists():
        return False
    return not Path(job.source).exists() or (
        Path(job.target).stat().st_mtime_ns >= Path(job.source).stat().st_mtime_ns
    )


def _announce_replaced(jobs: Iterable[Job]) -> None:
    """Say which files will be replaced: they may be those of other inputs of the same names."""
    replaced = [target for _, target in jobs if target != STREAM and Path(target).is_file()]
    if replaced:
        others = len(replaced) - 1
        more = f", as {'do' if others > 1 else 'does'} {others} more" if others else ""
        sys.stderr.write(f"onedpiece: {printable(replaced[0])}: replaces the file that is there{more}\n")


def _files_of(name: str, extensions: frozenset[str], recursive: bool) -> list[_Found]:
    if name == STREAM or not Path(name).is_dir():
        return [_Found(name, "")]
    paths, left_out = find_images(name, recursive=recursive, endings=extensions)
    for path, reason in left_out:
        sys.stderr.write(f"onedpiece: {printable(str(path))}: left out: {reason}\n")
    if not paths:
        below = not recursive and any(path.is_dir() for path in Path(name).iterdir())
        deeper = "; --recursive looks below it" if below else ""
        raise ValueError(f"{name} holds no file that ends in {', '.join(sorted(extensions))}{deeper}")
    return [_Found(str(path), str(path.parent.relative_to(name))) for path in paths]


class _Names:
    """Outputs' names: the inputs' with `suffix` in place of their extension, or behind it.

    Behind it where it is none of the known ones (photo.2024), or tells the file from one beside it.
    """

    def __init__(self, suffix: str, extensions: frozenset[str], option: str) -> None:
        self.suffix, self.extensions, self.option = suffix, extensions, option
        self._stems: dict[Path, Counter[str]] = {}

    def beside(self, source: str) -> str:
        """Return the path of an output that lies beside its input."""
        return STREAM if source == STREAM else str(Path(source).with_name(self._name(Path(source))))

    def into(self, folder: str, found: _Found) -> str:
        """Return the path of an output in a folder."""
        if folder == STREAM:
            raise ValueError(f"many files cannot go to standard output; name a folder with {self.option}")
        if found.source == STREAM:
            raise ValueError(
                f"{folder} is a folder, and standard input has no name; name the file with {self.option}"
            )
        if Path(folder).exists() and not Path(folder).is_dir():
            raise ValueError(f"{folder} is a file; many outputs need a folder")
        return str(Path(folder) / found.below / self._name(Path(found.source)))

    def _name(self, path: Path) -> str:
        if path.suffix.lower() not in self.extensions or self._known_in(path.parent)[path.stem] > 1:
            return path.name + self.suffix
        return path.stem + self.suffix

    def _known_in(self, folder: Path) -> Counter[str]:
        if folder not in self._stems:
            beside = folder.iterdir() if os.access(folder, os.R_OK) else ()
            known = (path.stem for path in beside if path.suffix.lower() in self.extensions)
            self._stems[folder] = Counter(known)
        return self._stems[folder]


def _told_apart(jobs: Sequence[Job], suffix: str) -> list[Job]:
    """Give outputs that would be one their inputs' endings: a.jpg.odp and a.png.odp, not a.odp twice."""
    counts = Counter(job.target for job in jobs)
    return [job if counts[job.target] == 1 else Job(job.source, _with_ending(job, suffix)) for job in jobs]


def _with_ending(job: Job, suffix: str) -> str:
    return str(Path(job.target).with_name(Path(job.source).name + suffix))


def _check_no_picture(jobs: Iterable[Job]) -> None:
    for _, target in jobs:
        if Path(target).suffix.lower() in ENDINGS:
            raise ValueError(f"{target} is named as a picture; end the output in .odp")


def _check_targets(jobs: Iterable[Job], option: str) -> None:
    sources = {os.path.realpath(job.source) for job in jobs if job.source != STREAM}
    seen: dict[str, str] = {}
    for source, target in jobs:
        if target == STREAM:
            continue
        place = os.path.realpath(target)
        if place in sources:
            raise ValueError(f"{target} is an input; name another output with {option}")
        if place in seen:
            raise ValueError(
                f"{seen[place]} and {source} would both be written to {target}; do one at a time"
            )
        seen[place] = source


def _is_beside(job: Job) -> bool:
    folders = (os.path.realpath(Path(place).parent) for place in job)
    return STREAM not in job and next(folders) == next(folders)


def _check_free(jobs: Iterable[Job]) -> None:
    for _, target in jobs:
        if target != STREAM and Path(target).exists():
            raise ValueError(f"{target} is already there, perhaps the original; name the output with -o")
