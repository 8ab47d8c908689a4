"""Photos and, for each, a PNG of class numbers of the same name: in `masks`, or beside the photo."""

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from onedpiece._files import one_line
from onedpiece.codec.find import is_picture
from onedpiece.codec.images import read_picture
from onedpiece.errors import DatasetError
from onedpiece.heads import Task
from onedpiece.training.codes.base import Labelled
from onedpiece.training.codes.layout import (
    Item,
    OwnPhotos,
    beside,
    few,
    pictures_below,
    split_of_path,
    stored,
)

log = logging.getLogger(__name__)

FOLDERS = ("masks", "annotations", "labels")
"""Where masks lie, if not beside the photos."""

VOID = 255
"""In masks: pixels that count for nothing."""

_NAME_FILES = ("classes.txt", "masks/classes.txt", "annotations/classes.txt", "labels/classes.txt")
_TURNS = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class MaskFolder(OwnPhotos):
    """Photos with masks: one channel, the number of a class at each pixel, 255 where none counts.

    Numbers are lines of `classes.txt`, from 0 on; without it, the numbers that occur are the classes.

    Args:
        path: the folder of photos and masks, of `images` and `masks`, or of splits.
    """

    task: Task = "segment"
    kind: ClassVar[str] = "masks"

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """Lines of classes.txt; empty where there is none."""
        for path in self.described_by():
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
        return ()

    @cached_property
    def _pairs(self) -> list[tuple[Path, Path]]:
        photos = [photo for photo in pictures_below(self.root) if not _in_mask_folder(photo, self.root)]
        found = {photo: mask_of(photo, self.root) for photo in photos}
        masks = {mask for mask in found.values() if mask is not None}
        if without := [photo for photo, mask in found.items() if mask is None and photo not in masks]:
            log.warning("%s: left out: %d photos without a mask: %s", self.path, len(without), few(without))
        return [(photo, mask) for photo, mask in found.items() if mask is not None and photo not in masks]

    @cached_property
    def _numbers(self) -> tuple[int, ...]:
        """The class numbers that occur in all masks, each of which is read and checked for that."""
        log.info("%s: reading %d masks for the numbers in them", self.path, len(self._pairs))
        numbers: set[int] = set()
        for photo, mask in self._pairs:
            found = read_mask(mask)
            _check_size(photo, mask, (found.shape[1], found.shape[0]))
            here = set(np.unique(found).tolist())
            if self._names and (unknown := sorted(here - {VOID} - set(range(len(self._names))))):
                raise DatasetError(
                    f"{mask} has class {unknown[0]}, and there are {len(self._names)} names, from 0 on: "
                    f"{few(self._names)}; 255 is what counts for nothing"
                )
            numbers |= here
        return tuple(sorted(numbers))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names from `classes.txt`; without it the numbers that occur."""
        return self._names or tuple(str(number) for number in self._numbers if number != VOID)

    def files(self) -> list[Path]:
        """Return photos and masks, of which none is read for that."""
        return [path for pair in self._pairs for path in pair]

    def described_by(self) -> Sequence[Path]:
        """Return the file of names."""
        return [self.root / name for name in _NAME_FILES if (self.root / name).is_file()][:1]

    def items(self) -> list[Item]:
        """List the photos that have a mask; every mask is read.

        Raises:
            DatasetError: a mask is no picture of numbers, has another size than its photo or a number without
                a name; or there are fewer than two classes.
        """
        if self._pairs and len([number for number in self._numbers if number != VOID]) < 2:
            raise DatasetError(
                f"{self.path} has masks of {few(self._numbers)} alone; a segmenter tells two classes or more "
                "apart, and 255 counts for nothing: write 1 where the object is, and 0 elsewhere"
            )
        numbers = range(VOID) if self._names else [each for each in self._numbers if each != VOID]
        table = np.full(256, VOID, np.uint8)
        table[list(numbers)] = np.arange(len(numbers))
        return [
            Item(photo, split_of_path(photo, self.root), "", partial(_load, photo, mask, table), mask)
            for photo, mask in self._pairs
        ]


def holds_masks(root: Path) -> bool:
    """Say whether a photo has a mask; a PNG of colours beside a photo is a photo of its own."""
    folders = (path for name in FOLDERS for path in root.glob(f"**/{name}") if path.is_dir())
    in_folders = any(next(folder.rglob("*.png"), None) for folder in folders)
    for photo in root.rglob("*"):
        if not is_picture(photo.name) or _in_mask_folder(photo, root):
            continue
        mask = mask_of(photo, root) if in_folders else photo.with_suffix(".png")
        if mask not in (None, photo) and (_in_mask_folder(mask, root) or _is_numbers(mask)):
            return True
    return False


def _is_numbers(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.mode in ("L", "P", "1", "I", "I;16")
    except OSError:
        return False


def mask_of(photo: Path, root: Path) -> Path | None:
    """Return the mask of a photo, if there is one."""
    return next((path for path in _places(photo, root) if path != photo and path.is_file()), None)


def _places(photo: Path, root: Path) -> Iterator[Path]:
    return beside(photo, root, FOLDERS, ".png")


def _in_mask_folder(photo: Path, root: Path) -> bool:
    return any(part in FOLDERS for part in photo.relative_to(root).parts[:-1])


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Return the numbers of a mask, (H, W); of a palette, the entries' numbers.

    Raises:
        DatasetError: it is no picture, or none of numbers.
    """
    try:
        with Image.open(path) as image:
            numbers = np.asarray(image)
    except Exception as error:  # Pillow raises whatever a damaged file leads it to
        raise DatasetError(f"{path} is no mask: {one_line(error)}") from None
    if numbers.ndim == 3 and (numbers[..., :3] == numbers[..., :1]).all():
        numbers = numbers[..., 0]  # grey, saved as RGB
    if numbers.ndim != 2 or numbers.min() < 0 or numbers.max() > VOID:
        raise DatasetError(f"{path} is a picture of colours; a mask is one channel of class numbers")
    return numbers.astype(np.uint8)


def _check_size(photo: Path, mask: Path, size: tuple[int, int]) -> None:
    picture = stored(photo)
    if picture is not None and size not in (picture.size, picture.upright):
        width, height = picture.upright
        raise DatasetError(
            f"{mask} has {size[0]}x{size[1]} pixels and its photo {photo} {width}x{height}; make both alike"
        )


def _load(photo: Path, mask: Path, table: NDArray[np.uint8]) -> Labelled:
    image = read_picture(photo)
    numbers = table[read_mask(mask)]
    if numbers.shape != (image.height, image.width) and (was := stored(photo)) and was.orientation > 4:
        # Drawn on the pixels as they are stored, before the photo is turned upright.
        numbers = np.asarray(Image.fromarray(numbers).transpose(_TURNS[was.orientation]))
    return Labelled(image, torch.from_numpy(numbers.copy()))
