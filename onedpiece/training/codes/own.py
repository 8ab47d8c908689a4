"""Somebody's own labelled photos: which of the known formats a folder is in, and where its tokens go."""

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from onedpiece.codec.find import is_picture
from onedpiece.codes import ROWS
from onedpiece.errors import DatasetError
from onedpiece.heads import Task
from onedpiece.training.codes.cache_file import read_metadata
from onedpiece.training.codes.class_folders import ClassFolders, class_folders
from onedpiece.training.codes.coco import Coco, find_coco
from onedpiece.training.codes.layout import UNDERSTOOD, OwnPhotos, few
from onedpiece.training.codes.mask_folder import MaskFolder, holds_masks
from onedpiece.training.codes.shards import is_bulk
from onedpiece.training.codes.yolo import NAME_FILES, Yolo, find_description

CACHES = Path("runs/codes")
"""Where tokens go that are given no place."""


def own_photos(path: str) -> OwnPhotos:
    """Return the source of a folder of labelled photos, recognised by what lies in it.

    Args:
        path: the folder; or the json of a COCO data set, or the `data.yaml` of a YOLO one.

    Raises:
        DatasetError: it is none of the known; the message says what was found.
        FileNotFoundError: there is nothing there.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"there is no {path}; set data.path to a folder of labelled photos")
    if place.is_file():
        return _described(place)
    if find_coco(place):
        return Coco(path)
    if find_description(place) or any(_texts(place)):
        return Yolo(path)
    if holds_masks(place):
        return MaskFolder(path)
    if next(class_folders(place), None):
        return ClassFolders(path)
    raise DatasetError(f"{path} holds {_content(place)}; understood are: {UNDERSTOOD}")


def _described(file: Path) -> OwnPhotos:
    if file.suffix.lower() == ".json":
        return Coco(str(file))
    if file.suffix.lower() in (".yaml", ".yml"):
        return Yolo(str(file))
    raise DatasetError(f"{file} is a file; set data.path to a folder, a COCO .json or a YOLO .yaml")


def _texts(root: Path) -> list[Path]:
    """Return a label file of YOLO's, if there is any: in a folder `labels`, or beside photos."""
    for folder in [path for path in root.glob("**/labels") if path.is_dir()]:
        if found := next(folder.rglob("*.txt"), None):
            return [found]
    if not any((root / name).is_file() for name in NAME_FILES):
        return []
    photos = (path for path in root.rglob("*") if is_picture(path.name))
    return [photo for photo in photos if photo.with_suffix(".txt").is_file()][:1]


def _content(root: Path) -> str:
    """Say what a folder holds, in a few words."""
    inside = [path for path in sorted(root.iterdir()) if not path.name.startswith(".")]
    folders = [path.name for path in inside if path.is_dir()]
    endings = Counter(path.suffix.lower() or "no ending" for path in inside if path.is_file())
    found = [f"{len(folders)} folders without photos ({few(folders)})"] if folders else []
    found += [f"{count} files of {ending}" for ending, count in endings.most_common(3)]
    return ", ".join(found) or "nothing"


def is_tokens(path: str | Path) -> bool:
    """Say whether a path is tokens already: what `onedpiece bulk` wrote, or a cache."""
    place = Path(path)
    if place.is_file():
        return place.suffix == ".parquet"
    return (place / ROWS).is_dir() or any(place.glob("*.parquet"))


def task_of(path: str) -> Task:
    """Return what photos are labelled for, be they in a folder or tokenized already.

    Raises:
        OSError, ValueError: as `own_photos`, and as a cache's.
    """
    if not is_tokens(path):
        return own_photos(path).task
    return "classify" if is_bulk(Path(path)) else read_metadata(Path(path)).task


def default_cache(source: OwnPhotos, code_space: bytes, variants: Sequence[str]) -> Path:
    """Return where the tokens of a folder go: another file for other photos, labels, views or models."""
    facts = "|".join([str(Path(source.path).resolve()), source.stamp, code_space.hex(), *variants])
    name = "".join(each if each.isalnum() or each in "-_" else "_" for each in source.root.resolve().name)
    return CACHES / f"{name or 'photos'}-{sha256(facts.encode()).hexdigest()[:10]}.parquet"
