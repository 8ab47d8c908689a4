import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

WORDS = ["fit", "--config", "c.yaml", "--trainer.max_steps=5", "-x", "3", "--help", "--print_config"]


def _replace_lightning(monkeypatch: pytest.MonkeyPatch, main: Callable[[list[str]], None]) -> None:
    """Put `main` in the place of LightningCLI, whose import takes seconds."""
    monkeypatch.setitem(sys.modules, "onedpiece.training.cli", SimpleNamespace(main=main))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What LightningCLI is given."""
    calls: list[list[str]] = []
    _replace_lightning(monkeypatch, calls.append)
    return calls


def test_everything_goes_to_lightning_in_order(cli: Any, seen: list[list[str]]) -> None:
    assert cli("train", *WORDS).status == 0
    assert cli("train").status == 0
    assert cli("train", "--help").out == b""
    assert seen == [WORDS, [], ["--help"]]


def test_a_crash_keeps_its_traceback(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(args: list[str]) -> None:
        raise ZeroDivisionError("in step 12345")

    _replace_lightning(monkeypatch, crash)
    result = cli("train", "fit")
    assert result.status == 1
    assert "Traceback" in result.err
    assert "in step 12345" in result.err


def test_bad_configuration_is_one_line(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(args: list[str]) -> None:
        raise ValueError("num_tokens is 0; use at least 1")

    _replace_lightning(monkeypatch, refuse)
    assert cli("train", "fit") == (2, b"", "onedpiece: num_tokens is 0; use at least 1\n")


def test_lightnings_own_exit_status_stays(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(args: list[str]) -> None:
        raise SystemExit(3)

    _replace_lightning(monkeypatch, leave)
    with pytest.raises(SystemExit, match="3"):
        cli("train", "fit")


def test_ctrl_c_before_the_first_step_is_130(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(args: list[str]) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)  # as Lightning does

    _replace_lightning(monkeypatch, interrupted)
    with pytest.raises(SystemExit, match="130"):
        cli("train", "fit")


def test_options_that_lightning_finds_unfit_are_one_line(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class MisconfigurationException(Exception):  # noqa: N818 (its name is what tells it)
        pass

    def refuse(args: list[str]) -> None:
        raise MisconfigurationException("no such accelerator")

    _replace_lightning(monkeypatch, refuse)
    assert cli("train", "fit") == (2, b"", "onedpiece: no such accelerator\n")
