"""A folder for each class: `cats/1.jpg`, `dogs/2.jpg`; on request below folders that name the splits."""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch

from onedpiece.codec.images import read_picture
from onedpiece.errors import DatasetError
from onedpiece.heads import Task
from onedpiece.training.codes.base import TRAIN, Labelled
from onedpiece.training.codes.layout import (
    UNDERSTOOD,
    Item,
    OwnPhotos,
    few,
    holds_picture,
    pictures_below,
    split_of,
)

log = logging.getLogger(__name__)


class ClassFolders(OwnPhotos):
    """Photos whose class is the name of the folder that they lie in or below.

    Args:
        path: the folder of the classes' folders; or one of `train`, `val` and `test` with those in them.
    """

    task: Task = "classify"
    kind: ClassVar[str] = "a folder per class"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the folders, sorted."""
        return tuple(sorted({item.group for item in self.listed}))

    def items(self) -> list[Item]:
        """List the photos of every class.

        Raises:
            DatasetError: there are fewer than two classes, or one that has no photo to train on.
        """
        found = [
            (photo, split, folder.name)
            for split, folder in class_folders(Path(self.path))
            for photo in pictures_below(folder)
        ]
        names = sorted({name for _, split, name in found if split in (None, TRAIN)})
        if len(names) == 1:
            raise DatasetError(
                f"{self.path} has photos in one folder, {names[0]}, and a classifier tells two classes or "
                f"more apart; understood are: {UNDERSTOOD}"
            )
        if unknown := sorted({name for *_, name in found} - set(names)):
            raise DatasetError(f"{self.path} has no photo of {few(unknown)} to train on; add some to train")
        return [
            Item(photo, split, name, partial(_load, photo, names.index(name))) for photo, split, name in found
        ]


def class_folders(root: Path) -> Iterator[tuple[str | None, Path]]:
    """Yield the folders of photos below `root`, each with the split that the folder above it names.

    A folder called `train` is a split where it holds folders of photos, and a class of trains where it holds
    photos.
    """
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    splits = {path: split for path in folders if (split := split_of(path.name)) and _has_folders(path)}
    if not splits:
        yield from ((None, path) for path in folders if holds_picture(path))
        return
    if others := [path.name for path in folders if path not in splits and holds_picture(path)]:
        log.warning("%s: left out beside the splits: %s", root, few(others))
    for path, split in splits.items():
        yield from ((split, below) for _, below in class_folders(path))


def _has_folders(folder: Path) -> bool:
    return any(path.is_dir() and holds_picture(path) for path in folder.iterdir())


def _load(photo: Path, number: int) -> Labelled:
    return Labelled(read_picture(photo), torch.tensor(number))
