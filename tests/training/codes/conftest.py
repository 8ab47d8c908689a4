"""Pictures of a size and of one colour, with EXIF where it is wanted."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from onedpiece.training.codes import BoxTarget, Source

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write a picture, a mask or a text to a path below the test's folder."""

    def write(name: str, content: str | Image.Image = "", size: tuple[int, int] = (8, 6)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Image.Image):
            content.save(path)
        elif path.suffix in (".png", ".jpg"):
            Image.new("RGB", size, (200, 30, 30)).save(path)
        else:
            path.write_text(content)
        return path

    return write


@pytest.fixture
def boxes_of() -> Callable[[Source, str], BoxTarget]:
    """Return the boxes of a source's photo, by its key."""

    def load(source: Source, key: str) -> BoxTarget:
        (example,) = [each for each in source.examples() if each.key == key]
        target = example.load().target
        assert isinstance(target, BoxTarget)
        return target

    return load
