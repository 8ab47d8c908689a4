"""Photos → WebDataset shards of one size, for training that streams; an interrupted run goes on."""

import json
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from hashlib import sha256
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from PIL import Image

from onedpiece._files import atomic_path, atomic_write_text, one_line
from onedpiece._progress import Progress, no_progress
from onedpiece.codec.find import find_images
from onedpiece.codec.images import read_picture
from onedpiece.errors import PictureError
from onedpiece.training.data.files import Member, OnError, folder_members, label_of, read, tar_members

PICTURES_A_SHARD = 1000
"""Where nothing is said: shards of some dozen megabytes."""

PLAN, INDEX = "shards.json", "index.tsv"
"""Beside the shards: what they hold, and with labels the table that trainings of classifiers read."""

Format = Literal["jpeg", "webp", "png"]
ENDINGS: dict[Format, str] = {"jpeg": "jpg", "webp": "webp", "png": "png"}


@dataclass(frozen=True)
class PrepareConfig:
    """What is made of each photo.

    Attributes:
        size: the short side in pixels; the long one keeps its ratio, for random crops.
        format: of the pictures in the shards.
        quality: of JPEG and WebP; colours are not subsampled in JPEG.
        shards: how many; None: one for each `PICTURES_A_SHARD`.
        labels: a photo's first folder is its label, in `INDEX`.

    Raises:
        ValueError: on construction, a number out of range.
    """

    size: int = 256
    format: Format = "jpeg"
    quality: int = 95
    shards: int | None = None
    labels: bool = False

    def __post_init__(self) -> None:
        if self.size < 1 or not 1 <= self.quality <= 100 or (self.shards is not None and self.shards < 1):
            raise ValueError(
                f"preparing needs size ≥ 1, 1 ≤ quality ≤ 100 and shards ≥ 1; got size {self.size}, quality "
                f"{self.quality}, shards {self.shards}"
            )
        if self.format not in ENDINGS:
            raise ValueError(f"no format {self.format!r} for shards; there are: {', '.join(ENDINGS)}")


class Shard(NamedTuple):
    """One shard: its file's name, how many pictures it holds, and why others are not in it."""

    name: str
    pictures: int
    broken: tuple[str, ...]


class Prepared(NamedTuple):
    """What a run made, and how many of the shards were there before."""

    shards: tuple[Shard, ...]
    kept: int

    @property
    def pictures(self) -> int:
        """How many pictures all shards hold."""
        return sum(shard.pictures for shard in self.shards)

    @property
    def broken(self) -> tuple[str, ...]:
        """Why pictures were left out, a line each."""
        return tuple(why for shard in self.shards for why in shard.broken)


def find_members(inputs: Sequence[Path], on_error: OnError = "stop") -> list[Member]:
    """List the pictures of folders, tars and single files; a picture's key is what training knows it by.

    Keys are paths below the input, without ending; with several inputs the input's name stands in front.

    Args:
        inputs: as for `prepare`.
        on_error: of a damaged tar; `skip` takes the pictures before the damage.

    Raises:
        OSError: an input is not there, or holds no picture.
        ValueError: two pictures have one key (the message names both), a tar is damaged, or a folder holds
            both tars and photos.
    """
    found: dict[str, Member] = {}
    for each in inputs:
        for member in _members_of(each, on_error):
            key = f"{each.resolve().stem}/{member.key}" if len(inputs) > 1 else member.key
            folder, slash, name = key.rpartition("/")
            key = f"{folder}{slash}{name.replace('.', '_')}"  # WebDataset ends a key at its first dot
            if key in found:  # a.jpg beside a.png
                key = f"{key}_{member.path.suffix[1:].lower()}"
            if key in found:
                raise ValueError(
                    f"{_place(member)} and {_place(found[key])} would both be {key!r}; prepare them apart"
                )
            found[key] = member._replace(key=key)
    return [found[key] for key in sorted(found)]


def _members_of(path: Path, on_error: OnError) -> list[Member]:
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    tars = path.is_dir() and any(path.glob("*.tar"))
    photos = path.is_dir() and bool(find_images(path, recursive=True).paths)
    if tars and photos:
        raise ValueError(f"{path} holds both tars and photos; name the tars, or a folder of photos alone")
    if path.suffix == ".tar" or tars:
        return tar_members(path, on_error)
    if path.is_dir():
        if not photos:
            raise FileNotFoundError(f"no picture lies in {path} or below it")
        return [m._replace(key=str(PurePosixPath(m.key).with_suffix(""))) for m in folder_members(path)]
    return [Member(path.stem, path, 0, path.stat().st_size)]


def _place(member: Member) -> str:
    return f"{member.path}:{member.key}" if member.path.suffix == ".tar" else str(member.path)


def prepare(
    inputs: Sequence[Path],
    out: Path,
    config: PrepareConfig = PrepareConfig(),
    on_error: OnError = "skip",
    processes: int = 0,
    progress: Progress = no_progress,
) -> Prepared:
    """Write shards to the folder `out`; those that a run before has finished stay.

    Args:
        inputs: folders (and all below them), tars, or pictures.
        out: made where it is not there.
        config: what is made of each photo.
        on_error: of a picture that cannot be read: left out and told of, or the end.
        processes: how many shards are written at once; 0: one, in this process.
        progress: told of finished pictures.

    Raises:
        PictureError: a picture cannot be read, and `on_error` is `stop`.
        ValueError: `out` holds shards of other photos or options, or a photo has no folder to be its label.
        OSError: an input is not there, or nothing can be written.
    """
    members = find_members(inputs, on_error)
    labels = [label_of(member) for member in members] if config.labels else []
    count = config.shards or -(-len(members) // PICTURES_A_SHARD)
    count = min(count, len(members))
    pieces = [members[i * len(members) // count : (i + 1) * len(members) // count] for i in range(count)]
    out.mkdir(parents=True, exist_ok=True)
    fingerprint = _fingerprint(members, config)
    before = _finished(out, fingerprint)
    names = [f"{i:06d}.tar" for i in range(count)]
    todo = [(out / name, piece) for name, piece in zip(names, pieces, strict=True) if name not in before]
    done = dict(before)
    finished = sum(shard.pictures + len(shard.broken) for shard in before.values())
    progress(finished, len(members))
    _note(out, fingerprint, config, done)  # before any shard: several at once are not finished in order
    for shard in _written(todo, config, on_error, processes):
        done[shard.name] = shard
        finished += shard.pictures + len(shard.broken)
        progress(finished, len(members))
        _note(out, fingerprint, config, done)
    if config.labels:
        _write_index(out, members, labels)
    return Prepared(tuple(done[name] for name in names), len(before))


def _written(
    todo: Sequence[tuple[Path, list[Member]]], config: PrepareConfig, on_error: OnError, processes: int
) -> Iterator[Shard]:
    """Yield shards as they are written: what is not noted in time is made again."""
    if processes < 2 or len(todo) < 2:
        yield from (write_shard(path, piece, config, on_error) for path, piece in todo)
        return
    # "spawn": workers start without what this process has loaded.
    with ProcessPoolExecutor(min(processes, len(todo)), mp_context=get_context("spawn")) as pool:
        try:
            jobs = [pool.submit(write_shard, path, piece, config, on_error) for path, piece in todo]
            yield from (job.result() for job in as_completed(jobs))
        except BaseException:  # a picture that cannot be read, a signal: what has not begun is not waited for
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def write_shard(path: Path, members: Sequence[Member], config: PrepareConfig, on_error: OnError) -> Shard:
    """Write one shard, whole or not at all.

    Raises:
        PictureError: a picture cannot be read, and `on_error` is `stop`.
    """
    broken = []
    with atomic_path(path) as partial, tarfile.open(partial, "w") as tar:
        for member in members:
            try:
                data = resized(member, config)
            except PictureError as error:
                if on_error == "stop":
                    raise
                broken.append(str(error))
                continue
            info = tarfile.TarInfo(f"{member.key}.{ENDINGS[config.format]}")
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
    return Shard(path.name, len(members) - len(broken), tuple(broken))


def resized(member: Member, config: PrepareConfig) -> bytes:
    """Return a photo, encoded, its short side `config.size` pixels; a smaller photo keeps its size.

    Raises:
        PictureError: it cannot be read, or stored; the message says where it lies.
    """
    try:
        picture = read_picture(BytesIO(read(member)), config.size)
    except (OSError, PictureError) as error:
        raise PictureError(f"{_place(member)} is no readable picture ({one_line(error)})") from error
    scale = config.size / min(picture.size)
    if scale < 1:
        width, height = (max(config.size, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    options = {"quality": config.quality} if config.format != "png" else {}
    if config.format == "jpeg":
        options["subsampling"] = 0
    buffer = BytesIO()
    try:
        picture.save(buffer, config.format, **options)
    except (OSError, ValueError) as error:  # no format holds every size
        size = f"{picture.width}x{picture.height}"
        raise PictureError(
            f"{_place(member)} cannot be stored as {config.format} at {size} ({one_line(error)})"
        ) from error
    return buffer.getvalue()


def _fingerprint(members: Sequence[Member], config: PrepareConfig) -> str:
    """What shards depend on, in 16 digits."""
    digest = sha256(json.dumps(asdict(config), sort_keys=True).encode())
    for member in members:
        digest.update(f"{member.key}|{member.size}\n".encode())
    return digest.hexdigest()[:16]


def _finished(out: Path, fingerprint: str) -> dict[str, Shard]:
    """Return the shards that a run before has written, by name."""
    plan = out / PLAN
    if not plan.is_file():
        tars = sorted(out.glob("*.tar"))
        if tars:
            raise ValueError(f"{out} holds other shards ({tars[0].name}); name another folder")
        return {}
    noted = json.loads(plan.read_text(encoding="utf-8"))
    if noted.get("print") != fingerprint:
        raise ValueError(f"{out} holds shards of other photos or options ({PLAN}); name another folder")
    shards = (Shard(each["name"], each["pictures"], tuple(each["broken"])) for each in noted["shards"])
    return {shard.name: shard for shard in shards if (out / shard.name).is_file()}


def _write_index(out: Path, members: Sequence[Member], labels: Sequence[str]) -> None:
    stored = {member.key for member in tar_members(out)}  # without what could not be read
    pairs = zip(members, labels, strict=True)
    rows = "".join(f"{member.key}\t{label}\n" for member, label in pairs if member.key in stored)
    atomic_write_text(out / INDEX, f"key\tlabel\n{rows}")


def _note(out: Path, fingerprint: str, config: PrepareConfig, done: dict[str, Shard]) -> None:
    shards = [done[name]._asdict() for name in sorted(done)]
    plan = {"print": fingerprint, "config": asdict(config), "shards": shards}
    atomic_write_text(out / PLAN, json.dumps(plan, indent=1) + "\n")
