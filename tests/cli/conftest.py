"""The command line inside the test's process, with a tiny model in the place of the bundled one."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copy
from typing import NamedTuple

import pytest
import torch

from onedpiece.cli.main import main
from onedpiece.codec import Codec
from onedpiece.tokenizer import Tokenizer, TokenizerConfig

PRINTS = {"tiny": bytes.fromhex("0badcafe"), "other": bytes.fromhex("feedbeef")}


class Result(NamedTuple):
    """How a command ended."""

    status: int
    out: bytes
    err: str


Run = Callable[..., Result]


class _Stream(io.TextIOWrapper):
    def __init__(self, content: bytes = b"", terminal: bool = False) -> None:
        super().__init__(io.BytesIO(content), "utf-8", write_through=True)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def content(self) -> bytes:
        return self.buffer.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.fixture(scope="session")
def tiny(small_config: Callable[..., TokenizerConfig]) -> Tokenizer:
    """16 tokens on 256×256 pixels, with as few weights as can be."""
    torch.manual_seed(0)
    return Tokenizer(small_config(image_size=256, patch_size=64))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tiny: Tokenizer) -> Run:
    """Run `onedpiece` with these words; terminals are "out" and "err" where the test wants them to be."""

    def load(name: str | None = None, device: str = "cpu", *, sharp: bool = True) -> Codec:
        if name not in (None, *PRINTS):
            raise ValueError(f"no model {name!r}")
        return Codec(tiny, PRINTS[name or "tiny"], device, name or "tiny")

    def run(*words: object, stdin: bytes = b"", terminals: str = "") -> Result:
        out, err = _Stream(terminal="out" in terminals), _Stream(terminal="err" in terminals)
        with monkeypatch.context() as patch:
            patch.setattr("onedpiece.weights.load", load)
            for name, stream in (("stdin", _Stream(stdin)), ("stdout", out), ("stderr", err)):
                patch.setattr(sys, name, stream)
            status = main([str(word) for word in words])
        return Result(status, out.content(), err.content().decode())

    return run


@pytest.fixture
def photos(tmp_path: Path, data: Path) -> Path:
    """A folder of its own with a 256×256 photo, a 451×300 one, and a text."""
    folder = tmp_path / "photos"
    folder.mkdir()
    copy(data / "astronaut.png", folder / "a.png")
    copy(data / "chelsea_451x300.png", folder / "b.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder
