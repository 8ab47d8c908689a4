"""What an error says on the command line: one line and an exit status."""

from typing import Any

import typer

from onedpiece.errors import OnedpieceError, TargetOutOfReachError

BAD_INPUT = 2
FAILED = 1

# typer carries its own copy of click from 0.26 on, and uses the installed one before: the base class of all
# errors about options and arguments is click's ClickException either way, and this finds it in both.
_OPTION_ERROR: type[Any] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)


class OutputError(OnedpieceError):
    """An output could not be written; the input is not to blame."""


class LostStdoutError(Exception):
    """Standard output is gone, and the verb with it: a closed pipe, a full disk. The cause is the OSError."""


def message_of(error: Exception) -> str:
    """Return one line that says what went wrong."""
    if isinstance(error, _OPTION_ERROR):
        text = error.format_message()
    elif isinstance(error, OSError):
        text = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    elif isinstance(error, TargetOutOfReachError):
        text = f"{error}; take that with --best-effort"
    elif isinstance(error, OnedpieceError | ValueError | RuntimeError | ImportError):
        text = str(error)
    else:
        text = f"unexpected {type(error).__name__}: {error} (set ONEDPIECE_DEBUG=1 for the traceback)"
    return " ".join(text.split()) or type(error).__name__


def printable(text: str) -> str:
    """Return a name or message with its control characters escaped: it can neither colour nor fake a line."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def status_of(error: Exception) -> int:
    """Return 2 where what was given is at fault, else 1."""
    return BAD_INPUT if isinstance(error, _OPTION_ERROR | ValueError | OSError) else FAILED
