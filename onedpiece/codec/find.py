"""Which files of a folder are pictures, by their names; needs neither Pillow nor torch."""

import mimetypes
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import NamedTuple

ENDINGS = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".heic", ".heif", ".jxl"}
    | {".gif", ".bmp", ".tif", ".tiff", ".jp2", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".qoi"}
)
"""Of files that count as pictures in a folder; a file that is named may have any."""


class FoundImages(NamedTuple):
    """What a folder holds.

    Attributes:
        paths: pictures by their ending, sorted.
        left_out: what looks like a picture and is not taken, each with the reason, sorted.
    """

    paths: list[Path]
    left_out: list[tuple[Path, str]]


def find_images(
    folder: str | PathLike[str], *, recursive: bool = False, endings: Iterable[str] = ENDINGS
) -> FoundImages:
    """List the pictures of a folder without opening them; hidden files and folders do not count.

    Args:
        folder: where to look.
        recursive: also in the folders below it.
        endings: what a wanted file's name ends in, in lower case.

    Raises:
        OSError: the folder cannot be read.
    """
    known = frozenset(endings)
    paths: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    for path in _visible(Path(folder), recursive):
        wanted = path.suffix.lower() in known
        if wanted and path.is_file():
            paths.append(path)
        elif wanted:
            left_out.append((path, "a folder" if path.is_dir() else "a broken link or no file"))
        elif known >= ENDINGS and path.is_file() and _is_image(path):
            left_out.append((path, "a kind of picture that is not read"))
    return FoundImages(sorted(paths), sorted(left_out))


def _visible(folder: Path, recursive: bool) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if recursive and path.is_dir() and not path.is_symlink():
            yield from _visible(path, recursive)
        else:
            yield path


def _is_image(path: Path) -> bool:
    return (mimetypes.guess_type(path.name)[0] or "").startswith("image/")
