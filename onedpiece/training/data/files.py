"""Encoded pictures: a place in a tar or a file of its own, a square of pixels, and a held-out share.

The share stays the same when pictures are added or shards are cut anew.
"""

import logging
import tarfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from onedpiece._files import one_line
from onedpiece.codec.find import find_images, is_picture
from onedpiece.codec.images import read_picture
from onedpiece.errors import PictureError

log = logging.getLogger(__name__)

OnError = Literal["skip", "stop"]
"""What a shard or a picture that cannot be read does to a run: it is named and left out, or ends the run."""


class Member(NamedTuple):
    """One encoded picture: `size` bytes from `offset` on in the file `path`, known as `key`."""

    key: str
    path: Path
    offset: int
    size: int


def tar_members(root: str | Path, on_error: OnError = "stop") -> list[Member]:
    """List the pictures in WebDataset tars, shard by shard in the order of their names.

    Args:
        root: one `.tar`, or a folder of them; KEY.webp, KEY.jpg and so on (`codec.find.ENDINGS`) are taken.
        on_error: of a shard that is damaged; `skip` keeps the pictures before the damage.

    Raises:
        FileNotFoundError: no tar is there, or none holds a picture.
        ValueError: a shard is damaged; the message names it.
    """
    root = Path(root)
    shards = [root] if root.is_file() else sorted(root.glob("*.tar"))
    members = [member for shard in shards for member in _in_tar(shard, on_error)]
    if not members:
        raise FileNotFoundError(
            f"no .tar with pictures at {root}; set data.init_args.path to one or its folder"
        )
    return members


def _in_tar(path: Path, on_error: OnError) -> Iterator[Member]:
    found = 0
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                if info.isfile() and is_picture(info.name) and _whole(info, path):
                    found += 1
                    yield Member(str(Path(info.name).with_suffix("")), path, info.offset_data, info.size)
    except tarfile.TarError as error:
        if on_error == "stop":
            raise ValueError(
                f"{path} is a damaged or compressed tar ({one_line(error)}); make it anew, or set "
                "data.init_args.on_error to skip"
            ) from error
        log.warning(
            "%s is damaged behind its picture %d: %s; the rest is left out", path, found, one_line(error)
        )


def _whole(info: tarfile.TarInfo, path: Path) -> bool:
    """Say whether all bytes of a member are there; `tarfile` itself looks no further than headers."""
    if info.offset_data + info.size > path.stat().st_size:
        raise tarfile.ReadError("unexpected end of data")
    return True


def folder_members(root: str | Path, include: Sequence[str] = ("*",)) -> list[Member]:
    """List the pictures in a folder and below it, sorted by path; what looks like one and is not is logged.

    Args:
        root: the folder.
        include: glob patterns on the path below `root`; a picture that fits any of them is taken.

    Raises:
        FileNotFoundError: no picture is there.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; set data.init_args.path to a folder of photos")
    found = find_images(root, recursive=True)
    for path, reason in found.left_out:
        log.warning("%s: left out: %s", path, reason)
    members = [
        Member(path.relative_to(root).as_posix(), path, 0, path.stat().st_size)
        for path in found.paths
        if _included(path.relative_to(root).as_posix(), include)
    ]
    if not members:
        raise FileNotFoundError(
            f"no picture below {root} fits {list(include)}; set data.init_args.path to a folder of photos"
        )
    return members


def _included(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def label_of(member: Member) -> str:
    """Return the first folder of a picture's key: its label, where folders are labels.

    Raises:
        ValueError: it lies in none.
    """
    folder, slash, _ = member.key.partition("/")
    if not slash:
        raise ValueError(
            f"{member.path} lies in no folder that would be its label; move it into one, or away"
        )
    return folder


def read(member: Member) -> bytes:
    """Return the encoded bytes of one picture."""
    with member.path.open("rb") as file:
        file.seek(member.offset)
        return file.read(member.size)


CENTRE = (0.5, 0.5)


def square(data: bytes, size: int, place: tuple[float, float] = CENTRE) -> NDArray[np.uint8]:
    """Decode a picture as the codec does, scale its short side to `size` and crop a square.

    Args:
        data: an encoded picture, in any format that Pillow reads.
        size: side of the square in pixels.
        place: of the square, from 0 (left, top) to 1 (right, bottom); at random it is what the field calls
            resize and random crop.

    Returns:
        (3, size, size), RGB.

    Raises:
        PictureError: the bytes are no picture.
    """
    upright = read_picture(BytesIO(data), size)
    if upright.size != (size, size):
        upright = ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS, centering=place)
    return np.ascontiguousarray(np.asarray(upright).transpose(2, 0, 1))


def decode(member: Member, size: int, place: tuple[float, float] = CENTRE) -> NDArray[np.uint8]:
    """Read and decode one picture (see `square`).

    Raises:
        PictureError: the bytes are no picture; the message says where they lie.
    """
    try:
        return square(read(member), size, place)
    except (OSError, PictureError) as error:
        raise PictureError(
            f"{member.key} in {member.path} is no readable picture ({one_line(error)}); remove it, or set "
            "data.init_args.on_error to skip"
        ) from error


class Split(NamedTuple):
    """Positions, in the list that was split, of the pictures to train on and of those held out."""

    train: list[int]
    held_out: list[int]


def hash_of(key: str) -> int:
    """Return the hash, in [0, 2^64), that says whether a picture is held out."""
    return int.from_bytes(sha256(key.encode()).digest()[:8], "big")


def is_held_out(key: str, share: float) -> bool:
    """Say whether the picture called `key` is never trained on: its hash lies in the lowest `share`."""
    return hash_of(key) < share * 2**64


def split(members: Sequence[Member], share: float) -> Split:
    """Split by the hash of the keys.

    Args:
        members: the pictures.
        share: about how many of them to hold out, in [0, 1); above 0, of two or more at least one.

    Raises:
        ValueError: nothing is left to train on.
    """
    held_out = [i for i, member in enumerate(members) if is_held_out(member.key, share)]
    if share and not held_out and len(members) > 1:
        held_out = [min(range(len(members)), key=lambda i: hash_of(members[i].key))]
    taken = set(held_out)
    train = [i for i in range(len(members)) if i not in taken]
    if not train:
        raise ValueError(f"val_share {share} leaves nothing of {len(members)} pictures to train on; lower it")
    return Split(train, held_out)
