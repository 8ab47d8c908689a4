"""The pictures of tar shards and folders, one by one, as the tools that fit statistics read them."""

import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image

from onedpiece.codec.find import is_picture
from onedpiece.codec.images import read_picture


def read_shards(path: Path) -> Iterator[Image.Image]:
    """Yield RGB pictures in the order of their names: of a file, of a tar, or of all of both in a folder."""
    if path.is_dir():
        for inside in sorted(path.iterdir()):
            yield from read_shards(inside)
    elif path.suffix == ".tar":
        yield from _in_tar(path)
    elif is_picture(path.name):
        yield read_picture(path)


def _in_tar(path: Path) -> Iterator[Image.Image]:
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isfile() and is_picture(member.name) and (file := tar.extractfile(member)):
                yield read_picture(BytesIO(file.read()))
