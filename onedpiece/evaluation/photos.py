"""Photographs from disk, as the square 8-bit pictures that every codec in a comparison is given.

With them class labels from a table, and batches.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from PIL import Image

from onedpiece.codec.find import ENDINGS, find_images
from onedpiece.codec.images import read_picture, read_square
from onedpiece.errors import PictureError

T = TypeVar("T")

BATCH = 8
"""Photos that a network takes at once: enough to fill the cores, few enough for any memory."""


CLASSES = 1000
"""ImageNet's."""

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
    """What was read of what was asked for, in order; `left_out` is what looked like a picture of a folder."""

    photos: list[Photo]
    unreadable: list[Unreadable]
    left_out: Sequence[Unreadable] = ()


class FoundPhotos(NamedTuple):
    """(name, path) of every picture, and what looked like one and was not taken, with the reason."""

    photos: list[tuple[str, Path]]
    left_out: list[Unreadable]


def find_photos(inputs: Iterable[Path], *, recursive: bool = True) -> FoundPhotos:
    """Return every file named and every picture in each folder, and below it, sorted by folder.

    Their names are paths below the folder that was given; those of several folders alike, whole paths.

    Raises:
        FileNotFoundError: a path does not exist, or a folder holds no picture.
    """
    found = FoundPhotos([], [])
    for path in inputs:
        if str(path) == "-":
            raise FileNotFoundError("- (standard input) is not read here; name photos or folders of them")
        if path.is_dir():
            inside = find_images(path, recursive=recursive)
            if not inside.paths:
                deeper = "" if recursive else "; --recursive looks below it"
                raise FileNotFoundError(f"{path} holds no picture ({', '.join(sorted(ENDINGS))}){deeper}")
            found.photos.extend((p.relative_to(path).as_posix(), p) for p in inside.paths)
            found.left_out.extend(Unreadable(str(p), reason) for p, reason in inside.left_out)
        elif path.exists():
            found.photos.append((path.name, path))
        else:
            raise FileNotFoundError(f"{path} does not exist")
    counts = Counter(name for name, _ in found.photos)
    photos = [(name if counts[name] == 1 else path.as_posix(), path) for name, path in found.photos]
    return FoundPhotos(photos, found.left_out)


def read_photos(inputs: Iterable[Path], side: int | None, *, recursive: bool = True) -> PhotoSet:
    """Read every photo as a square of `side` pixels, or whole (None); what cannot be read is listed.

    Raises:
        FileNotFoundError: as `find_photos`.
    """
    photos: list[Photo] = []
    unreadable: list[Unreadable] = []
    found = find_photos(inputs, recursive=recursive)
    for name, path in found.photos:
        try:
            photos.append(Photo(name, read_picture(path) if side is None else read_square(path, side)))
        except (OSError, PictureError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            unreadable.append(Unreadable(name, reason or str(error)))
    return PhotoSet(photos, unreadable, found.left_out)


def batches(items: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """Yield `items` in order, `size` at a time; the last piece may be shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))


def read_class_labels(path: Path) -> Mapping[str, int]:
    """Return the class index of each file name; for photos in subfolders, of each path below the folder.

    Args:
        path: a table in UTF-8, with or without a byte order mark, parted by tabs, semicolons or commas, whose
            header names the columns "file" and "imagenet_class_index" (0 to 999).

    Raises:
        ValueError: a column is missing, an index is none of the thousand, a file has two, or it is no UTF-8.
        OSError: the file cannot be opened.
    """
    labels: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            rows = csv.DictReader(file, delimiter=next((mark for mark in "\t;" if mark in header), ","))
            missing = [column for column in _COLUMNS if column not in (rows.fieldnames or ())]
            if missing:
                raise ValueError(
                    f"{path} has no column {' and no '.join(missing)}; its first line names the columns"
                )
            for row in rows:
                label = _class_index(row["imagenet_class_index"], f"{path}, line {rows.line_num}")
                if labels.setdefault(row["file"], label) != label:
                    raise ValueError(f"{path}, line {rows.line_num}: {row['file']} has two classes")
    except UnicodeError as error:
        raise ValueError(f"{path} is not in UTF-8 ({error}); save it as UTF-8 text") from None
    return labels


def _class_index(text: str | None, where: str) -> int:
    try:
        label = int(text or "")
    except ValueError:
        raise ValueError(f"{where}: the imagenet_class_index {text!r} is no whole number") from None
    if not 0 <= label < CLASSES:
        raise ValueError(f"{where}: the imagenet_class_index is {label}; classes are 0 to {CLASSES - 1}")
    return label


def photo_labels(photos: Sequence[Photo], labels: Mapping[str, T]) -> list[T | None]:
    """Return the label of each photo, by its whole name or by its bare file name; None where there is none.

    Raises:
        ValueError: two photos would take one label by their bare name.
    """
    found = [labels.get(photo.name) for photo in photos]
    takers: dict[str, str] = {}
    for at, photo in enumerate(photos):
        bare = PurePosixPath(photo.name).name
        if bare not in labels or (found[at] is not None and photo.name != bare):
            continue
        if bare in takers:
            raise ValueError(
                f"the label of {bare} could be that of {takers[bare]} or of {photo.name}; give one folder, "
                "and let the labels name the paths below it"
            )
        takers[bare] = photo.name
        found[at] = labels[bare]
    return found
