"""Photographs from disk, as the square 8-bit pictures that every codec in a comparison is given.

With them class labels from a TSV file, and batches.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image

from onedpiece.codec.images import read_picture, read_square
from onedpiece.errors import PictureError

EXTENSIONS = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif", ".jxl", ".jp2"}


T = TypeVar("T")

BATCH = 8
"""Photos that a network takes at once: enough to fill the cores, few enough for any memory."""


_COLUMNS = ("file", "imagenet_class_index")


class Photo(NamedTuple):
    """A photo that could be read.

    Attributes:
        name: its file name, or its path below the folder that was named.
        image: RGB; square, unless whole photos were asked for.
    """

    name: str
    image: Image.Image


class Unreadable(NamedTuple):
    """A file that is no photo, and why."""

    name: str
    reason: str


class PhotoSet(NamedTuple):
    """What was read of what was asked for, in order."""

    photos: list[Photo]
    unreadable: list[Unreadable]


def find_photos(inputs: Iterable[Path]) -> list[tuple[str, Path]]:
    """Return (name, path) of every file named and of every picture below each folder, sorted.

    Raises:
        FileNotFoundError: a path does not exist, or a folder holds no picture.
    """
    found: list[tuple[str, Path]] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in EXTENSIONS)
            if not inside:
                raise FileNotFoundError(f"{path} holds no picture ({', '.join(sorted(EXTENSIONS))})")
            found += [(p.relative_to(path).as_posix(), p) for p in inside]
        elif path.exists():
            found.append((path.name, path))
        else:
            raise FileNotFoundError(f"{path} does not exist")
    return found


def read_photos(inputs: Iterable[Path], side: int | None) -> PhotoSet:
    """Read every photo as a square of `side` pixels, or whole (None); what cannot be read is listed.

    Raises:
        FileNotFoundError: as `find_photos`.
    """
    photos: list[Photo] = []
    unreadable: list[Unreadable] = []
    for name, path in find_photos(inputs):
        try:
            photos.append(Photo(name, read_picture(path) if side is None else read_square(path, side)))
        except (OSError, PictureError) as error:
            unreadable.append(Unreadable(name, str(error)))
    return PhotoSet(photos, unreadable)


def batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """Yield `items` in order, `size` at a time; the last piece may be shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))


def read_class_labels(path: Path) -> Mapping[str, int]:
    """Return the class index of each file name.

    Args:
        path: a TSV file whose header names the columns "file" and "imagenet_class_index" (0 to 999).

    Raises:
        ValueError: a column is missing, or an index is no whole number.
        OSError: the file cannot be opened.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        missing = [column for column in _COLUMNS if column not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path} has no column {' and no '.join(missing)}; its first line names the columns"
            )
        try:
            return {row["file"]: int(row["imagenet_class_index"]) for row in rows}
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: an imagenet_class_index is no whole number: {error}") from None
