"""A progress bar on standard error, and only where that is a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

from onedpiece.training.codes.building import Progress as Told


@contextmanager
def bar(what: str) -> Iterator[Told]:
    """Give a callback for (done, total) that moves a bar."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
