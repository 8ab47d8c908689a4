"""`main`: from the command's words to an exit status, and never a traceback.

0 is success, 1 a failure, 2 bad input (a file, an option), 130 Ctrl-C. Set ONEDPIECE_DEBUG to see tracebacks.
"""

import os
import sys
from collections.abc import Sequence

from onedpiece.cli.errors import LostStdoutError, message_of, status_of


def main(argv: Sequence[str] | None = None) -> int:
    """Run `onedpiece` with the words after its name (None: the process's own) and return the exit status."""
    try:
        _tolerate_odd_names()
        status = _run(list(sys.argv[1:] if argv is None else argv))
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except LostStdoutError as error:
        return _quit_without_stdout(error.__cause__)
    except OSError as error:  # only the flush is left to raise it
        return _quit_without_stdout(error)


def _run(argv: list[str]) -> int:
    # Imported here, so that Ctrl-C is heard while the verbs load.
    from onedpiece.cli.app import app

    try:
        status = app(argv, prog_name="onedpiece", standalone_mode=False)
    except LostStdoutError:
        raise
    except Exception as error:
        if os.environ.get("ONEDPIECE_DEBUG"):
            raise
        return _complain(error)
    return status if isinstance(status, int) else 0


def _complain(error: Exception) -> int:
    text = message_of(error)
    # A group of verbs that is given none raises its whole help.
    sys.stderr.write(f"{error}\n" if text.startswith("Usage: ") else f"onedpiece: {text}\n")
    return status_of(error)


def _tolerate_odd_names() -> None:
    """Let a file name that is no valid text, or a narrow terminal encoding, cost no more than an escape."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _quit_without_stdout(error: BaseException | None) -> int:
    """End where standard output is a full disk, or a closed pipe: then quietly, as `head` expects."""
    # Python flushes once more as it exits, and would complain in its own words.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        sys.stderr.write(f"onedpiece: standard output: {error.strerror}\n")
    return 1
