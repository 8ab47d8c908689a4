"""What people's own folders of labelled photos have in common, whatever format the labels have.

Splits by the names of folders, a share that is held out where none has such a name, what lies beside a photo,
and when a cache of the photos has to be made anew.
"""

import logging
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from os.path import relpath
from pathlib import Path
from typing import ClassVar, NamedTuple

from PIL import Image

from onedpiece.codec.find import find_images, is_picture
from onedpiece.codec.images import ORIENTATION
from onedpiece.errors import DatasetError
from onedpiece.training.codes.base import TEST, TRAIN, VAL, Example, Labelled, Source
from onedpiece.training.data.files import hash_of, is_held_out

log = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.1
"""Of the photos, by the hash of their keys, that are never trained on where no folder says which."""

NAMED = 3
"""Files that a message names; of more it says how many there are."""

UNDERSTOOD = (
    "a folder of photos per class; YOLO's images/ and labels/*.txt; COCO's annotations/instances_*.json; "
    "images/ and masks/*.png; or the output of onedpiece bulk"
)
"""The formats that are known, for messages."""

_SPLIT = re.compile(r"(train|val|test)(?:id|ing|idation)?\d*", re.IGNORECASE)


class Item(NamedTuple):
    """One labelled photo, before it is read.

    Attributes:
        photo: the file.
        split: as a folder or a file names it; None: nothing does.
        group: the photos among which a share is held out: those of one class, or all.
        load: reads photo and label.
        label: the file of its label, where it has one of its own.
    """

    photo: Path
    split: str | None
    group: str
    load: Callable[[], Labelled]
    label: Path | None = None


class OwnPhotos(Source):
    """Labelled photos in a folder of somebody's own.

    Args:
        path: the folder; or the one file that describes it.
    """

    kind: ClassVar[str]
    """What a message calls this format."""

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def root(self) -> Path:
        """The folder."""
        path = Path(self.path)
        return path if path.is_dir() else path.parent

    @property
    def name(self) -> str:
        """Say which folder, and in what format."""
        return f"{self.root.resolve().name} ({self.kind})"

    @abstractmethod
    def items(self) -> list[Item]:
        """List the photos with their labels, sorted.

        Raises:
            DatasetError: a label is malformed; the message names its file.
        """

    @cached_property
    def listed(self) -> list[Item]:
        """The items, which are listed once.

        Raises:
            DatasetError: there are none, or as `items`.
        """
        found = self.items()
        if not found:
            raise DatasetError(f"{self.path} holds no photo with a label ({self.kind}); look at data.path")
        return found

    def examples(self) -> list[Example]:
        """List all photos; a tenth of those to train on is held out where no folder names a split.

        Raises:
            DatasetError: as `items`; or there is nothing to train on, or a photo is in two splits.
        """
        keys = [relpath(item.photo, self.root) for item in self.listed]
        (most, times), *_ = Counter(keys).most_common(1)
        if times > 1:
            raise DatasetError(f"{self.path} has {most} in {times} splits; take it out of all but one")
        splits = _splits(keys, self.listed, self.path)
        return [
            Example(key, split, item.load) for key, split, item in zip(keys, splits, self.listed, strict=True)
        ]

    @cached_property
    def splits(self) -> frozenset[str]:
        """The splits that there are."""
        return frozenset(example.split for example in self.examples())

    @cached_property
    def stamp(self) -> str:
        """Places, sizes and times of all files: where one changes or moves, photos are tokenized anew."""
        digest = sha256()
        for path in (*self.files(), *self.described_by()):
            facts = path.stat()
            digest.update(f"{relpath(path, self.root)}|{facts.st_size}|{facts.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:16]

    def files(self) -> list[Path]:
        """Return the photos and the labels that have files of their own."""
        return [path for item in self.listed for path in (item.photo, item.label) if path is not None]

    def described_by(self) -> Sequence[Path]:
        """Return files that hold more than one photo's labels, or names of classes."""
        return ()


def _splits(keys: Sequence[str], items: Sequence[Item], path: str) -> list[str]:
    named = {item.split for item in items} - {None}
    if not named - {TRAIN}:
        held_out = {key for group in _groups(keys, items) for key in held_out_of(group)}
        return [VAL if key in held_out else TRAIN for key in keys]
    if TRAIN not in named and None not in {item.split for item in items}:
        found = " and ".join(sorted(str(name) for name in named))
        raise DatasetError(f"{path} has photos in {found} and none to train on; put those into train")
    return [item.split or TRAIN for item in items]


def _groups(keys: Sequence[str], items: Sequence[Item]) -> Iterator[list[str]]:
    groups: dict[str, list[str]] = {}
    for key, item in zip(keys, items, strict=True):
        groups.setdefault(item.group, []).append(key)
    return iter(groups.values())


def held_out_of(keys: Sequence[str], share: float = HELD_OUT_SHARE) -> list[str]:
    """Return which keys are held out: about a share of them, at least one of two, and never all."""
    ordered = sorted(keys, key=hash_of)
    count = sum(is_held_out(key, share) for key in keys)
    return ordered[: min(max(count, 1), len(keys) - 1)]


def split_of(part: str) -> str | None:
    """Return the split that a folder's or file's name stands for: train2017, valid, validation, test."""
    found = _SPLIT.fullmatch(part)
    return None if found is None else {"train": TRAIN, "val": VAL, "test": TEST}[found[1].lower()]


def split_of_path(path: Path, root: Path) -> str | None:
    """Return the split that the first of a file's folders below `root` names, if any does."""
    parts = Path(relpath(path, root)).parts[:-1]
    return next((split for part in parts if (split := split_of(part))), None)


def pictures_below(root: Path) -> list[Path]:
    """List the pictures in a folder and below it, sorted; what looks like one and is not is logged."""
    found = find_images(root, recursive=True)
    for path, reason in found.left_out[:NAMED]:
        log.warning("%s: left out: %s", path, reason)
    return found.paths


def beside(photo: Path, root: Path, folders: Sequence[str], ending: str) -> Iterator[Path]:
    """Yield where a photo's label may lie, likeliest first.

    For `images/train/a.jpg` and the folder `labels` that is `labels/train/a.txt`, then `labels` beside the
    photo, `labels/images/train/a.txt`, and last the photo's own folder.
    """
    inside = photo.relative_to(root) if photo.is_relative_to(root) else photo
    places = [at for at, part in enumerate(inside.parts[:-1]) if part in ("images", "JPEGImages")]
    for folder in folders:
        for at in reversed(places):
            yield (root / Path(*inside.parts[:at], folder, *inside.parts[at + 1 :])).with_suffix(ending)
        yield (photo.parent / folder / photo.name).with_suffix(ending)
        yield (root / folder / inside).with_suffix(ending)
    yield photo.with_suffix(ending)


class Stored(NamedTuple):
    """A picture file's pixels as they are stored.

    Attributes:
        size: (width, height).
        orientation: of EXIF, 1 to 8; from 5 on, width and height change places in the upright picture.
    """

    size: tuple[int, int]
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """The size that `read_picture` gives."""
        return self.size if self.orientation < 5 else (self.size[1], self.size[0])


def stored(photo: Path) -> Stored | None:
    """Read size and orientation from a picture's header; None: it is no readable picture."""
    try:
        with Image.open(photo) as image:
            return Stored(image.size, int(image.getexif().get(ORIENTATION, 1)))
    except Exception:  # Pillow's parsers raise whatever a damaged file leads them to; `read_picture` says it
        return None


def few(names: Sequence[object]) -> str:
    """Return the first names of a list in one line, and how many more there are."""
    shown = ", ".join(str(name) for name in names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


def holds_picture(folder: Path) -> bool:
    """Say whether there is a picture in a folder or below it; looks no further than the first."""
    return any(is_picture(path.name) and path.is_file() for path in folder.rglob("*"))
