"""The drawn pictures: as many as asked for, of more than one shape, always the same."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image


def test_pictures_are_written_and_reproducible(
    tmp_path: Path, tool: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    drawing = tool("draw_pictures")
    drawing.main([str(tmp_path / "a"), "--count", "6"])
    assert capsys.readouterr().out == f"{tmp_path / 'a'}: 6 pictures\n"
    paths = sorted((tmp_path / "a").iterdir())
    assert [path.name for path in paths] == [f"{k:04d}.png" for k in range(6)]
    pictures = [Image.open(path) for path in paths]
    assert len({picture.size for picture in pictures}) > 1
    assert all(abs(3 * min(picture.size) - 2 * max(picture.size)) < 3 for picture in pictures)
    assert np.array_equal(np.asarray(pictures[3]), np.asarray(drawing.draw(3)))
    assert len({picture.tobytes() for picture in pictures}) == 6
