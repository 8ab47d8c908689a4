"""Where the encoded pictures lie: a place in a tar, or a file of its own."""

import tarfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

SUFFIXES = (".webp", ".jpg", ".jpeg", ".png")


class Member(NamedTuple):
    """One encoded picture: `size` bytes from `offset` on in the file `path`, known as `key`."""

    key: str
    path: Path
    offset: int
    size: int


def tar_members(root: str | Path) -> list[Member]:
    """List the pictures in WebDataset tars, shard by shard in the order of their names.

    Args:
        root: one `.tar`, or a folder of them; KEY.webp, KEY.jpg, KEY.jpeg and KEY.png members are taken.

    Raises:
        FileNotFoundError: no tar is there, or none holds a picture.
    """
    root = Path(root)
    shards = [root] if root.is_file() else sorted(root.glob("*.tar"))
    members = [member for shard in shards for member in _in_tar(shard)]
    if not members:
        raise FileNotFoundError(
            f"no .tar with pictures at {root}; set data.init_args.path to one or its folder"
        )
    return members


def _in_tar(path: Path) -> list[Member]:
    with tarfile.open(path, "r:") as tar:
        return [
            Member(str(Path(info.name).with_suffix("")), path, info.offset_data, info.size)
            for info in tar
            if info.isfile() and info.name.lower().endswith(SUFFIXES)
        ]


def folder_members(root: str | Path, include: Sequence[str] = ("*",)) -> list[Member]:
    """List the pictures in a folder and below it, sorted by path.

    Args:
        root: the folder.
        include: glob patterns on the path below `root`; a picture that fits any of them is taken.

    Raises:
        FileNotFoundError: no picture is there.
    """
    root = Path(root)
    members = [
        Member(path.relative_to(root).as_posix(), path, 0, path.stat().st_size)
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in SUFFIXES and _included(path.relative_to(root).as_posix(), include)
    ]
    if not members:
        raise FileNotFoundError(
            f"no picture below {root} fits {list(include)}; set data.init_args.path to a folder of photos"
        )
    return members


def _included(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def read(member: Member) -> bytes:
    """Return the encoded bytes of one picture."""
    with member.path.open("rb") as file:
        file.seek(member.offset)
        return file.read(member.size)
