"""The one progress bar, and the callback that moves it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

Progress = Callable[[int, int], None]
"""Told how many are done, and how many there are in all."""


def no_progress(done: int, total: int) -> None:
    """Show nothing."""


@contextmanager
def progress_bar(what: str | Callable[[], str] = "") -> Iterator[Progress]:
    """Give a callback that moves a bar on standard error; it moves nothing where that is no terminal.

    The bar appears with the first call, and goes away at the end of the block.

    Args:
        what: stands in front of the bar; a function is asked anew each time that the bar moves.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield no_progress
        return
    started: list[tuple[Bar, TaskID]] = []

    def text() -> str:
        return what() if callable(what) else what

    def move(done: int, total: int) -> None:
        if not started:
            started.append(_start(text()))
        bar, task = started[0]
        bar.update(task, completed=done, total=total, description=text())

    try:
        yield move
    finally:
        for bar, _ in started:
            bar.stop()


def _start(what: str) -> "tuple[Bar, TaskID]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    # Lines pass through the bar only where both end on a terminal: a pipe must get them as they are.
    bar = Bar(
        *([TextColumn("{task.description}")] if what else []),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        redirect_stderr=True,
    )
    bar.start()
    return bar, bar.add_task(what, total=None)
