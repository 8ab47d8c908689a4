"""COCO's json: photos, categories and boxes `x y w h` in pixels."""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from onedpiece._files import one_line
from onedpiece.codec.images import read_picture
from onedpiece.errors import DatasetError
from onedpiece.heads import Task
from onedpiece.training.codes.base import Labelled
from onedpiece.training.codes.boxes import Box, target_of, turned
from onedpiece.training.codes.layout import Item, OwnPhotos, few, split_of, stored

log = logging.getLogger(__name__)

_FOLDERS = ("", "annotations", "train", "valid", "val", "test")
_HEAD = 1 << 16  # characters that tell COCO's json from others


class CocoObject(NamedTuple):
    """One annotation.

    Attributes:
        label: the number of its class.
        box: in pixels.
    """

    label: int
    box: Box


class CocoFile(NamedTuple):
    """One json.

    Attributes:
        path: of the json.
        split: as its name or its folder says.
        images: as they stand there.
        classes: id and name of each category, by id.
        objects: by the photo's id.
    """

    path: Path
    split: str | None
    images: list[dict[str, Any]]
    classes: dict[int, str]
    objects: dict[Any, list[CocoObject]]


class Coco(OwnPhotos):
    """A COCO data set: `annotations/instances_train.json` and the like, or one json beside the photos.

    Categories are numbered in the order of their ids. Crowds are left out, photos without an object are
    background, and photos that are not there are counted and left out.

    Args:
        path: the folder, or the one json.
    """

    task: Task = "detect"
    kind: ClassVar[str] = "COCO"

    @cached_property
    def jsons(self) -> list[CocoFile]:
        """The json files.

        Raises:
            DatasetError: two are of one split or have other categories, or one is malformed.
        """
        found = sorted(map(read_coco, find_coco(Path(self.path))), key=lambda file: file.split or "")
        for one, other in pairwise(found):
            if one.split == other.split:
                raise DatasetError(
                    f"{one.path} and {other.path} are of the same split, {one.split or 'none'}; "
                    "name one with data.path"
                )
            if one.classes != other.classes:
                raise DatasetError(f"{one.path} and {other.path} have other categories; make them the same")
        return found

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the categories."""
        return tuple(self.jsons[0].classes.values()) if self.jsons else ()

    def described_by(self) -> Sequence[Path]:
        """Return the json files."""
        return [file.path for file in self.jsons]

    def items(self) -> list[Item]:
        """List the photos.

        Raises:
            DatasetError: as `jsons`; or no photo has an object.
        """
        missing: list[str] = []
        items = []
        for file in self.jsons:
            for image, photo in self._photos(file):
                if photo is None:
                    missing.append(image["file_name"])
                else:
                    load = partial(_load, photo, _size_of(image), file.objects.get(image["id"], []))
                    items.append(Item(photo, file.split, "", load))
        if missing:
            log.warning("%s: %d photos are not there: %s", self.path, len(missing), few(missing))
        if items and not any(file.objects for file in self.jsons):
            raise DatasetError(f"{self.path} has {len(items)} photos and no object")
        return items

    def _photos(self, file: CocoFile) -> Iterator[tuple[dict[str, Any], Path | None]]:
        """Each entry with the photo's path, wherever among the usual folders it lies."""
        stem = re.sub(r"^instances_", "", file.path.stem)
        names = [name for name in (stem, file.split) if name]
        roots = list(dict.fromkeys([file.path.parent, self.root, file.path.parent.parent]))
        folders = [root / below for root in roots for below in ("", "images", *names)]
        folders += [root / "images" / name for root in roots for name in names]
        for image in file.images:
            at = next((at for at, each in enumerate(folders) if (each / image["file_name"]).is_file()), None)
            if at is None:
                yield image, None
                continue
            yield image, folders[at] / image["file_name"]
            folders.insert(0, folders.pop(at))  # the next photo lies there as well, most likely


def find_coco(path: Path) -> list[Path]:
    """List the COCO files of a folder, or the one that the path is; only instances_* where there are any."""
    if path.is_file():
        return [path]
    found = [file for name in _FOLDERS for file in sorted((path / name).glob("*.json")) if is_coco(file)]
    return [file for file in found if file.name.startswith("instances")] or found


def is_coco(path: Path) -> bool:
    """Say whether a json looks like COCO's, by its beginning: some have hundreds of megabytes."""
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(_HEAD)
    return head.lstrip().startswith("{") and any(
        re.search(rf'"{word}"\s*:\s*\[', head) for word in ("images", "annotations", "categories")
    )


def read_coco(path: Path) -> CocoFile:
    """Read one json.

    Raises:
        DatasetError: it is not as COCO has it; the message says what is wrong and of which annotation.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        classes = {int(each["id"]): str(each["name"]) for each in content["categories"]}
        images = [
            {**each, "file_name": str(each["file_name"]), "id": each["id"]} for each in content["images"]
        ]
        annotations = content["annotations"]
    except (ValueError, KeyError, TypeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else one_line(error)
        raise DatasetError(f"{path} is no COCO file: {reason}") from None
    classes = dict(sorted(classes.items()))
    objects: dict[Any, list[CocoObject]] = {}
    numbers = {identity: number for number, identity in enumerate(classes)}
    for annotation in annotations:
        if not annotation.get("iscrowd"):
            objects.setdefault(annotation.get("image_id"), []).append(_object(annotation, numbers, path))
    return CocoFile(path, _split_of(path), images, classes, objects)


def _split_of(path: Path) -> str | None:
    parts = [*re.split(r"[_.-]", path.stem), path.parent.name]
    return next((split for part in parts if (split := split_of(part))), None)


def _object(annotation: dict[str, Any], numbers: dict[int, int], path: Path) -> CocoObject:
    place = f"{path}: annotation {annotation.get('id')}"
    if annotation.get("category_id") not in numbers:
        raise DatasetError(f"{place} has category_id {annotation.get('category_id')}, which is no category's")
    try:
        x, y, w, h = map(float, annotation["bbox"])
    except (KeyError, TypeError, ValueError):
        raise DatasetError(f"{place} has bbox {annotation.get('bbox')}; a box is [x, y, w, h]") from None
    return CocoObject(numbers[annotation["category_id"]], (x, y, x + w, y + h))


def _size_of(image: dict[str, Any]) -> tuple[float, float] | None:
    width, height = image.get("width"), image.get("height")
    return (float(width), float(height)) if width and height else None


def _load(photo: Path, size: tuple[float, float] | None, objects: Sequence[CocoObject]) -> Labelled:
    image = read_picture(photo)
    width, height = size or image.size
    boxes: list[Box] = [
        (left / width, top / height, right / width, bottom / height)
        for left, top, right, bottom in (each.box for each in objects)
    ]
    # A json may count the pixels as they are stored, before they are turned upright.
    if (height, width) == image.size and width != height and (was := stored(photo)) and was.orientation > 4:
        boxes = [turned(box, was.orientation) for box in boxes]
    return Labelled(image, target_of(boxes, [each.label for each in objects]))
