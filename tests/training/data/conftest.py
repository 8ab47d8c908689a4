"""Shards of drawn pictures, whole, cut and corrupt."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def drawn(number: int, width: int = 40, height: int = 32) -> Image.Image:
    """A picture of one grey: a batch tells which pictures are in it."""
    return Image.fromarray(np.full((height, width, 3), 4 * number, dtype=np.uint8))


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write_shard(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def shards(tmp_path: Path) -> Callable[..., Path]:
    """Write `count` shards of `each` pictures, numbered through, and return their folder."""

    def make(count: int = 4, each: int = 6) -> Path:
        folder = tmp_path / "shards"
        folder.mkdir()
        for i in range(count):
            files = {f"{k:03d}.png": encoded(drawn(k)) for k in range(i * each, (i + 1) * each)}
            write_shard(folder / f"s-{i:03d}.tar", files)
        return folder

    return make
