"""What the user sees: a line for each file, failures by name, a bar on a terminal, one line for an error."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import monotonic
from types import TracebackType
from typing import Any, Self
from warnings import catch_warnings, simplefilter

import typer

from onedpiece._progress import Progress, progress_bar
from onedpiece.cli.io import STREAM, printable, say
from onedpiece.errors import OnedpieceError, TargetOutOfReachError

BAD_INPUT = 2
FAILED = 1
SECONDS_A_LINE = 15.0  # off a terminal: what takes longer says that it is at work

# typer carries its own copy of click from 0.26 on, and uses the installed one before: the base class of all
# errors about options and arguments is click's ClickException either way, and this finds it in both.
_OPTION_ERROR: type[Any] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)


def message_of(error: Exception) -> str:
    """Return one line that says what went wrong."""
    if isinstance(error, _OPTION_ERROR):
        text = error.format_message()
    elif isinstance(error, OSError):
        text = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    elif isinstance(error, TargetOutOfReachError):
        text = f"{error.message}; take that with --best-effort"
    elif isinstance(error, OnedpieceError | ValueError | RuntimeError | ImportError):
        text = str(error)
    else:
        text = f"unexpected {type(error).__name__}: {error} (set ONEDPIECE_DEBUG=1 for the traceback)"
    return " ".join(text.split()) or type(error).__name__


def status_of(error: Exception) -> int:
    """Return 2 where what was given is at fault, else 1."""
    return BAD_INPUT if isinstance(error, _OPTION_ERROR | ValueError | OSError) else FAILED


class Report:
    """Collects how each of several files went; leaving its `with` block ends the verb with the exit status.

    Args:
        sources: the inputs, `-` for standard input.
        as_json: print records, not lines.
        data_on_stdout: standard output carries a file, so what is said goes to standard error.
    """

    def __init__(
        self, sources: Sequence[str], *, as_json: bool = False, data_on_stdout: bool = False
    ) -> None:
        self.total = len(sources)
        self.as_json = as_json
        self.data_on_stdout = data_on_stdout
        self.statuses: list[int] = []
        self._finished = 0
        self._bar: Progress | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        if self.total > 1 and sys.stderr.isatty():
            self._bar = self._open.enter_context(progress_bar())
            self._bar(0, self.total)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._open.close()
        if kind is None and self.statuses:
            raise typer.Exit(self.statuses[0] if self.total == 1 else FAILED)

    @contextmanager
    def guarding(self, source: str) -> Iterator[None]:
        """Note what goes wrong with one file inside the block, and go on; a warning names it too."""
        try:
            with catch_warnings(record=True) as warned:
                simplefilter("always", UserWarning)
                yield
        except (OnedpieceError, ValueError, OSError) as error:
            self._fail(source, error)
        for each in warned:
            self.warn(source, str(each.message))

    def done(self, line: str, record: dict[str, Any]) -> None:
        """Say that one file is finished: `line`, or `record` as JSON."""
        say(json.dumps(record) if self.as_json else printable(line), aside=self.data_on_stdout)
        self.advance()

    @contextmanager
    def steps(self, what: str) -> Iterator[Progress | None]:
        """Give a callback that shows steps: a bar, or now and then a line off a terminal.

        None beside the files' own bar.
        """
        if self._bar:
            yield None
        elif sys.stderr.isatty():
            with progress_bar(what) as progress:
                yield progress
        else:
            yield _lines_of(what)

    def _fail(self, source: str, error: Exception) -> None:
        self.statuses.append(status_of(error))
        self.warn(
            source, error.strerror if isinstance(error, OSError) and error.strerror else message_of(error)
        )
        self.advance()

    def warn(self, source: str, text: str) -> None:
        """Say on standard error what is odd about one file."""
        name = "standard input" if source == STREAM else source
        sys.stderr.write(f"onedpiece: {printable(name)}: {printable(text)}\n")

    def advance(self) -> None:
        """Move the bar on by one file."""
        self._finished += 1
        if self._bar:
            self._bar(self._finished, self.total)


def _lines_of(what: str) -> Progress:
    """Return a callback that says on standard error how far it is, every `SECONDS_A_LINE`."""
    said = monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal said
        if monotonic() - said >= SECONDS_A_LINE:
            said = monotonic()
            sys.stderr.write(f"onedpiece: at work: {what} {done} of {total}\n")

    return tell


def name_of(place: str) -> str:
    """Return what to call an output: its path, or standard output."""
    return "standard output" if place == STREAM else place


def counted(tokens: int) -> str:
    """Return "1 token", "2 tokens" and so on."""
    return "1 token" if tokens == 1 else f"{tokens} tokens"
