from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from onedpiece.codec import Codec

Load = Callable[[str], ModuleType]


def test_subjects_are_squares_that_differ(tool: Load) -> None:
    subjects = tool("failure_gallery").subjects()
    assert [photo.name for photo in subjects] == ["face", "brick", "grass", "text", "chart"]
    assert {(photo.image.size, photo.image.mode) for photo in subjects} == {((256, 256), "RGB")}


def test_the_page_holds_all_its_words(tool: Load) -> None:
    page = np.asarray(tool("failure_gallery").page().convert("L"))
    inked = (page < 128).any(axis=1)
    assert inked[200:240].any()  # the last lines
    assert not inked[-8:].any()  # and none is cut off
    assert not (page < 128)[:, -4:].any()


def test_gallery(
    tool: Load,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    codec: Codec,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = tool("failure_gallery")
    monkeypatch.setattr("onedpiece.load", lambda name: codec)
    monkeypatch.setattr(module, "COUNTS", (4, 16))
    some = module.subjects()[3:]
    monkeypatch.setattr(module, "subjects", lambda: some)
    assert module.main(["--out", str(tmp_path / "failures.png")]) == 0
    # An original and two counts of two codecs, 256 + 8 pixels each, and a margin of 8; two rows of 302.
    assert Image.open(tmp_path / "failures.png").size == (5 * 264 + 8, 2 * 302 + 8)
    head, _, text, chart = capsys.readouterr().out.splitlines()
    assert head == "| PSNR, dB: tokens / WebP | 4 tokens | 16 tokens |"
    assert text.startswith("| text |")
    assert chart.count("/ –") == 2  # no WebP file of a chart fits 13 or 31 bytes
