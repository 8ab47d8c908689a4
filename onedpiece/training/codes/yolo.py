"""YOLO's text files: a line `class cx cy w h` an object, in shares of the photo."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import yaml

from onedpiece._files import one_line
from onedpiece.codec.find import is_picture
from onedpiece.codec.images import read_picture
from onedpiece.errors import DatasetError
from onedpiece.heads import Task
from onedpiece.training.codes.base import TEST, TRAIN, VAL, Labelled
from onedpiece.training.codes.boxes import Box, target_of
from onedpiece.training.codes.layout import Item, OwnPhotos, beside, few, pictures_below, split_of_path

log = logging.getLogger(__name__)

NAME_FILES = ("classes.txt", "labels/classes.txt", "obj.names", "labels.txt")
_NOT_LABELS = {"classes.txt", "labels.txt", "train.txt", "val.txt", "test.txt", "readme.txt"}
_FARTHEST = 2.0  # share of the photo that a box may be out of it; more is a number of pixels


class YoloObject(NamedTuple):
    """One line of a label file.

    Attributes:
        label: the number of its class.
        box: in shares of the photo.
    """

    label: int
    box: Box


class Yolo(OwnPhotos):
    """A YOLO data set: photos in `images`, and for each a text in `labels`, or beside it.

    Splits are those of `data.yaml`, or else of the folders' names. A photo without a text, or with an empty
    one, is background. Outlines of instances become the boxes around them.

    Args:
        path: the folder, or its `data.yaml`.
    """

    task: Task = "detect"
    kind: ClassVar[str] = "YOLO"

    @cached_property
    def description(self) -> Path | None:
        """The data set's `data.yaml`, if it has one."""
        return find_description(Path(self.path))

    @cached_property
    def _said(self) -> dict[str, Any]:
        return {} if self.description is None else read_description(self.description)

    def described_by(self) -> Sequence[Path]:
        """Return the files of names and splits."""
        named = [self.root / name for name in NAME_FILES]
        return [path for path in (self.description, *named) if path is not None and path.is_file()]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names from `data.yaml` or `classes.txt`; without them the numbers that occur."""
        given = self._said.get("names")
        if isinstance(given, Mapping):
            named = {int(number): str(name) for number, name in given.items()}
            return tuple(named.get(number, str(number)) for number in range(max(named, default=-1) + 1))
        if given:
            return tuple(map(str, given))
        for name in NAME_FILES:
            if (self.root / name).is_file():
                lines = (self.root / name).read_text(encoding="utf-8-sig").splitlines()
                return tuple(line.strip() for line in lines if line.strip())
        labels = [each.label for objects in self._objects.values() for each in objects]
        return tuple(map(str, range(max(labels, default=-1) + 1)))

    @cached_property
    def _photos(self) -> list[tuple[Path, str | None, Path | None]]:
        """Each photo with its split and its label file, if there is one."""
        found = []
        for split, photo in self._listed_photos():
            places = beside(photo, self.root, ("labels",), ".txt")
            label = next((each for each in places if each.name not in _NOT_LABELS and each.is_file()), None)
            found.append((photo, split, label))
        return found

    @cached_property
    def _objects(self) -> dict[Path, list[YoloObject]]:
        return {label: read_labels(label) for _, _, label in self._photos if label is not None}

    def items(self) -> list[Item]:
        """List the photos.

        Raises:
            DatasetError: a line is malformed or names a class that there is not; or no photo has an object.
        """
        for path, objects in self._objects.items():
            if wrong := [each.label for each in objects if each.label >= len(self.classes)]:
                raise DatasetError(
                    f"{path} names class {wrong[0]}, and there are {len(self.classes)}, from 0 on: "
                    f"{few(self.classes)}"
                )
        if not any(self._objects.values()):
            raise DatasetError(f"{self.path} has {len(self._photos)} photos and no object; look at labels/")
        return [
            Item(
                photo, split, "", partial(_load, photo, self._objects.get(label, []) if label else []), label
            )
            for photo, split, label in self._photos
        ]

    def _listed_photos(self) -> list[tuple[str | None, Path]]:
        listed = {split: list(self._from_yaml(split)) for split in (TRAIN, VAL, TEST)}
        if not any(listed.values()):
            return [(split_of_path(photo, self.root), photo) for photo in pictures_below(self.root)]
        for split in (VAL, TEST):
            if set(listed[split]) <= set(listed[TRAIN]) and listed[split]:
                log.warning("%s: %s holds photos of train; it is left out", self.description, split)
                listed[split] = []
        found = [(split, photo) for split, photos in listed.items() for photo in photos]
        if missing := [photo for _, photo in found if not photo.is_file()]:
            log.warning("%s: %d photos are not there: %s", self.description, len(missing), few(missing))
        return [(split, photo) for split, photo in found if photo.is_file()]

    def _from_yaml(self, split: str) -> Iterator[Path]:
        given = self._said.get(split) or []
        for entry in [given] if isinstance(given, str) else given:
            place = self._place(str(entry))
            if place is None and split == TEST:
                continue  # often the name of a folder that was never shipped
            if place is None:
                raise DatasetError(f"{self.description}: {split} is {entry}, and nothing is there")
            if place.is_dir():
                yield from pictures_below(place)
            else:
                lines = place.read_text(encoding="utf-8-sig").split("\n")
                yield from (place.parent / line.strip() for line in lines if is_picture(line.strip()))

    def _place(self, entry: str) -> Path | None:
        """Return where an entry of data.yaml is, which may be written for another folder than its own."""
        base = self.root / str(self._said.get("path") or "")
        places = [base / entry, self.root / entry, self.root / entry.removeprefix("../")]
        return next((place for place in places if place.exists()), None)


def find_description(path: Path) -> Path | None:
    """Return the YAML file that describes a YOLO data set: the path itself, or the one in the folder."""
    if path.is_file():
        return path
    named = [path / "data.yaml", path / "data.yml", path / "dataset.yaml"]
    others = sorted(each for each in path.glob("*.y*ml") if each not in named)
    found = [each for each in named if each.is_file()] + [each for each in others if _has_names(each)]
    return found[0] if found else None


def _has_names(path: Path) -> bool:
    try:
        return "names" in read_description(path)
    except DatasetError:
        return False


def read_description(path: Path) -> dict[str, Any]:
    """Return what a `data.yaml` says.

    Raises:
        DatasetError: it is no YAML of a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is no YAML: {one_line(error)}") from None
    if not isinstance(values, dict):
        raise DatasetError(f"{path} describes no data set: it has no names: [...]")
    return values


def read_labels(path: Path) -> list[YoloObject]:
    """Return the objects of a label file; a line that stands there twice counts once.

    Raises:
        DatasetError: a line is malformed; the message has its number.
    """
    objects: dict[YoloObject, None] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        if line.strip():
            objects[_object(line, f"{path}, line {number}")] = None
    return list(objects)


def _object(line: str, place: str) -> YoloObject:
    words = line.split()
    if len(words) != 5 and (len(words) < 7 or len(words) % 2 == 0):
        raise DatasetError(f"{place} has {len(words)} values; an object is: class cx cy w h")
    try:
        label, values = float(words[0]), [float(word) for word in words[1:]]
    except ValueError:
        raise DatasetError(
            f"{place} is {line.strip()[:60]!r}; an object is five numbers: class cx cy w h"
        ) from None
    if label < 0 or not label.is_integer():
        raise DatasetError(f"{place} has class {words[0]}; classes are whole numbers from 0 on")
    if not all(isfinite(value) and abs(value) <= _FARTHEST for value in values):
        raise DatasetError(
            f"{place} has {max(values, key=abs):g}; places are shares of the photo, from 0 to 1"
        )
    if len(values) > 4:  # an outline x1 y1 x2 y2 …
        return YoloObject(
            int(label), (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
        )
    cx, cy, w, h = values
    if w < 0 or h < 0:
        raise DatasetError(f"{place} has a negative width or height")
    return YoloObject(int(label), (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))


def _load(photo: Path, objects: Sequence[YoloObject]) -> Labelled:
    target = target_of([each.box for each in objects], [each.label for each in objects])
    return Labelled(read_picture(photo), target)
