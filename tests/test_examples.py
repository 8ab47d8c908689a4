"""The examples in docstrings and in --help: every public name and every verb has one, and they are true."""

import doctest
import re
import shlex
from contextlib import suppress
from importlib import import_module
from inspect import getmodule, unwrap
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

import onedpiece
from onedpiece.cli.main import build_app, main

NAMES = sorted(set(onedpiece.__all__) - {"__version__", "codes", "errors", "heads", "retokenize"})


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_every_public_name_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    found: Any = unwrap(getattr(onedpiece, name))
    module = getmodule(found)
    names = {"onedpiece": onedpiece, "torch": torch, "np": np, "PIL": PIL}
    tests = doctest.DocTestFinder(recurse=False).find(
        found, name, module, globs=vars(module) | names, extraglobs=None
    )
    (test,) = [test for test in tests if test.name == name]
    assert test.examples, f"onedpiece.{name} has no example"
    assert not doctest.DocTestRunner().run(test, out=told.append).failed, "".join(told)


def test_the_example_of_batches_runs() -> None:
    done = doctest.testmod(onedpiece.codes)
    assert (done.failed, done.attempted) == (0, 2)


def test_modules_are_there_after_import_onedpiece() -> None:
    for name in ("codes", "errors", "heads", "retokenize"):
        assert getattr(onedpiece, name) is import_module(f"onedpiece.{name}")
    assert set(dir(onedpiece)) == set(onedpiece.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = onedpiece.nothing


VERBS = sorted(
    [command.name or command.callback.__name__ for command in build_app().registered_commands]  # type: ignore[union-attr]
)


@pytest.mark.slow
@pytest.mark.parametrize("words", [[verb] for verb in VERBS] + [["evaluate", "downstream"]], ids=" ".join)
def test_the_help_of_every_verb_has_one_example(
    words: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with suppress(SystemExit):  # LightningCLI's
        main([*words, "--help"])
    text = " ".join(capfd.readouterr().out.split())
    (example,) = re.findall(r"Example: (onedpiece .*?)(?= (?:Arguments|Options|options):|$)", text)
    assert example.startswith(" ".join(["onedpiece", *words]))
    for option in re.findall(r"(?<!\S)--[a-z-]+", example):
        assert option in text.replace(example, ""), option
    for word in shlex.split(example):
        if word.startswith("configs/"):
            assert (Path(__file__).parents[1] / word).is_file()
