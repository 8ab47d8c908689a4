"""Which files of a folder are pictures, by their names; needs neither Pillow nor torch."""

import mimetypes
import os
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import NamedTuple

ENDINGS = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".heic", ".heif", ".jxl"}
    | {".gif", ".bmp", ".tif", ".tiff", ".jp2", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".qoi"}
)
"""Of files that count as pictures in a folder; a file that is named may have any."""

OTHER_ENDINGS = frozenset(
    {".svg", ".psd", ".dds", ".pcx", ".eps", ".sgi", ".xcf", ".icns", ".dib", ".exr", ".hdr", ".wmf", ".raw"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".pef"}
)
"""Of pictures that are not taken, which is said."""


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
        elif recursive and path.is_dir():
            left_out.append((path, "a link to a folder, or one that cannot be opened"))
        elif known >= ENDINGS and path.is_file() and _is_image(path):
            left_out.append((path, "a kind of picture that is not read"))
    return FoundImages(sorted(paths), sorted(left_out))


def is_picture(name: str) -> bool:
    """Return whether a name, with slashes, is a picture's; macOS leaves ._NAME.jpg beside one in tars."""
    path = PurePosixPath(name)
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".")


def _visible(folder: Path, recursive: bool) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if recursive and path.is_dir() and not path.is_symlink() and os.access(path, os.R_OK | os.X_OK):
            yield from _visible(path, recursive)
        else:
            yield path


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in OTHER_ENDINGS or (mimetypes.guess_type(path.name)[0] or "").startswith(
        "image/"
    )
