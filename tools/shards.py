"""The pictures of tar shards and folders, one by one, as the tools that fit statistics read them."""

import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image

SUFFIXES = (".webp", ".png", ".jpg", ".jpeg")


def read_shards(path: Path) -> Iterator[Image.Image]:
    """Yield RGB pictures in the order of their names: of a file, of a tar, or of all of both in a folder."""
    if path.is_dir():
        for inside in sorted(path.iterdir()):
            yield from read_shards(inside)
    elif path.suffix == ".tar":
        yield from _in_tar(path)
    elif path.suffix.lower() in SUFFIXES:
        with Image.open(path) as image:
            yield image.convert("RGB")


def _in_tar(path: Path) -> Iterator[Image.Image]:
    with tarfile.open(path) as tar:
        for member in tar:
            if (
                member.isfile()
                and member.name.lower().endswith(SUFFIXES)
                and (file := tar.extractfile(member))
            ):
                yield Image.open(BytesIO(file.read())).convert("RGB")
