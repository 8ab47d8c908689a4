"""The one progress bar: on a terminal, from the first call on, and nowhere else."""

import sys
from io import StringIO

import pytest

from onedpiece._progress import no_progress, progress_bar


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_off_a_terminal_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", StringIO())
    with progress_bar("Counting") as progress:
        assert progress is no_progress
        progress(1, 2)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_a_closed_standard_error_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with progress_bar() as progress:
        assert progress is no_progress


def test_a_terminal_shows_what_is_done_from_the_first_call_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress_bar("Counting") as progress:
        assert terminal.getvalue() == ""
        progress(2, 5)
    assert "Counting" in terminal.getvalue()
    assert "2/5" in terminal.getvalue()
