import sys
from types import SimpleNamespace

import pytest

from onedpiece.cli.main import main


def test_everything_goes_to_lightning_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    # In the place of LightningCLI, whose import takes seconds.
    monkeypatch.setitem(sys.modules, "onedpiece.training.cli", SimpleNamespace(head_main=seen.append))
    words = ["fit", "--config", "c.yaml", "--trainer.max_steps=5", "--help"]
    assert main(["train-head", *words]) == 0
    assert seen == [words]


def test_bad_configuration_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(args: list[str]) -> None:
        raise ValueError("task segment is answered on a grid; set grid to 1 or more, as 16")

    monkeypatch.setitem(sys.modules, "onedpiece.training.cli", SimpleNamespace(head_main=refuse))
    assert main(["train-head", "fit"]) == 2
    assert capsys.readouterr().err == (
        "onedpiece: task segment is answered on a grid; set grid to 1 or more, as 16\n"
    )
