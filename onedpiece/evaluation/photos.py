"""Photographs from disk, as the square 8-bit pictures that every codec in a comparison is given."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from onedpiece.pictures import PictureError, read_picture

EXTENSIONS = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif", ".jxl", ".jp2"}


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


def read_square(path: Path, side: int) -> Image.Image:
    """Read a photo, turn it upright, resize its short side to `side` pixels, crop the centre: RGB, square."""
    return ImageOps.fit(read_picture(path), (side, side), Image.Resampling.LANCZOS)


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """Return RGB pictures of one size as (B, 3, H, W) in [0, 1]."""
    stacked = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255
