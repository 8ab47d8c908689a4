"""`main`: from the command's words to an exit status, and never a traceback.

0 is success, 1 a failure, 2 bad input (a file, an option), 128 and a signal's number where one ended it: 130
is Ctrl-C. Set ONEDPIECE_DEBUG to see tracebacks.
"""

import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from onedpiece import __version__
from onedpiece.cli.io import LostStdoutError, printable, say
from onedpiece.cli.report import message_of, status_of

SHORT_VERBS = ("encode", "decode", "truncate", "info", "predict", "placeholder")
"""Their files are written and closed when they return."""

INTERRUPTED = 128 + signal.SIGINT
"""What a KeyboardInterrupt ends with, whichever signal raised it; typer returns it too."""


def run() -> int:
    """Be a process's command: `main`, after which a short verb's memory is left to the system as it is.

    Python looks through all objects once more as it exits: with torch among them, for a quarter of a second.
    Where triton was loaded (by torchvision, for LPIPS and heads) it does: its own would be reported as leaks.
    """
    _end_tidily()
    status = main()
    if sys.argv[1:2] and sys.argv[1] in SHORT_VERBS and "triton" not in sys.modules:
        gc.freeze()
    return 128 + _ended_by if status == INTERRUPTED else status


def _end_tidily() -> None:
    """Let `kill` and a terminal that closes end the process as Ctrl-C does, unless they were to be ignored.

    Training and the demo's server put their own handlers in SIGTERM's place.
    """
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is not None and signal.getsignal(hangup) == signal.SIG_DFL:
        signal.signal(hangup, lambda *_: signal.raise_signal(signal.SIGTERM))


def _interrupt(number: int, _: FrameType | None) -> None:
    global _ended_by  # noqa: PLW0603 (asyncio and typer lose what an exception could tell)
    _ended_by = number
    raise KeyboardInterrupt


_ended_by: int = signal.SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run `onedpiece` with the words after its name (None: the process's own) and return the exit status."""
    try:
        _replace_closed_streams()
        _tolerate_odd_names()
        status = _run(list(sys.argv[1:] if argv is None else argv))
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except LostStdoutError as error:
        return _quit_without_stdout(error.__cause__)
    except OSError as error:  # only the flush is left to raise it
        return _quit_without_stdout(error)


def _run(argv: list[str]) -> int:
    try:
        status = build_app()(argv, prog_name="onedpiece", standalone_mode=False)
    except LostStdoutError:
        raise
    except Exception as error:
        if os.environ.get("ONEDPIECE_DEBUG"):
            raise
        return _complain(error)
    return status if isinstance(status, int) else 0


def build_app() -> typer.Typer:
    """Return the verbs, imported here so that Ctrl-C is heard while they load."""
    from onedpiece.cli import train
    from onedpiece.cli.bulk import bulk
    from onedpiece.cli.compare import compare
    from onedpiece.cli.data import data
    from onedpiece.cli.decode import decode
    from onedpiece.cli.encode import encode
    from onedpiece.cli.evaluate import evaluate
    from onedpiece.cli.info import info, truncate
    from onedpiece.cli.models import convert, export, models
    from onedpiece.cli.predict import predict
    from onedpiece.cli.web import demo, placeholder

    # Plain help, and no typer tracebacks: rich would double the time that --help takes.
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    photos = (encode, decode, truncate, info, compare, predict, bulk, placeholder, demo)
    for verb in (*photos, export, convert, models):
        app.command()(verb)
    app.add_typer(evaluate, name="evaluate")
    app.add_typer(data, name="data")
    for hand_on in (train.train, train.train_sharp, train.train_head, train.train_classifier):
        name = hand_on.__name__.replace("_", "-")
        app.command(name, context_settings=train.PASS_EVERYTHING_ON, add_help_option=False)(hand_on)
    app.callback(invoke_without_command=True)(_onedpiece)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"onedpiece {__version__}")
        raise typer.Exit


def _onedpiece(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A picture in a few hundred bytes, or a few dozen tokens: any prefix of a file is a picture."""
    if context.invoked_subcommand is None:
        say(context.get_help())


def _complain(error: Exception) -> int:
    text = message_of(error)
    # A group of verbs that is given none raises its whole help.
    sys.stderr.write(f"{error}\n" if text.startswith("Usage: ") else f"onedpiece: {printable(text)}\n")
    return status_of(error)


def _replace_closed_streams() -> None:
    """Keep files that are opened from taking a closed stream's number, and with it what others print."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (for as long as there is someone to speak)


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
