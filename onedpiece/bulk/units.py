"""Inputs cut into units of work: what one task does whole, and one output shard holds.

The same inputs make the same units on every machine: a run that was killed goes on by their numbers.
"""

import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from onedpiece._files import one_line
from onedpiece.bulk.storage import check_there, find_files, is_address, is_folder, open_file, size_of
from onedpiece.codec.find import ENDINGS, is_picture
from onedpiece.codes import has_info, pyarrow

Kind = Literal["files", "tar", "parquet"]

TARS = frozenset({".tar", ".tgz", ".gz"})
PARQUETS = frozenset({".parquet"})
LISTS = frozenset({".txt"})
KINDS: dict[Kind, str] = {"tar": "tars", "parquet": "Parquet files", "files": "pictures"}
"""Of which a folder's first is taken: tars often have Parquet of their own beside them."""

_IMAGE_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "bytes", "img", "picture")
_KEY_COLUMNS = ("key", "__key__", "id", "name", "file_name", "path")


class Columns(NamedTuple):
    """Which columns of Parquet files hold the encoded pictures and their keys; None: the usual names."""

    image: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class Unit:
    """One unit of work.

    Attributes:
        number: of the unit, and of its output shard.
        kind: "files" are pictures of their own; "tar" and "parquet" a range of one file.
        source: address of the tar or Parquet file; "" for files.
        keys: of files, their keys.
        addresses: of files, where they lie.
        start: of a tar, the byte where its first member's header begins; of Parquet, the first row group.
        stop: of Parquet, behind the last row group.
        pictures: how many it holds; None where only reading tells.
        columns: of Parquet, image and key ("" where there is none).
        name: of a tar or Parquet file, its path below the folder that was named; keys of ours begin with it.
    """

    number: int
    kind: Kind
    source: str = ""
    keys: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    start: int = 0
    stop: int = 0
    pictures: int | None = None
    columns: tuple[str, str] = ("", "")
    name: str = ""

    def identity(self) -> str:
        """Return what makes it this unit, wherever its files lie."""
        in_keys = self.name if self.kind == "parquet" and not self.columns[1] else ""
        name = in_keys or PurePosixPath(self.source).name
        return "\n".join([self.kind, name, f"{self.start} {self.stop} {self.pictures}", *self.keys])


@dataclass
class Listing:
    """The units of all inputs.

    Attributes:
        units: in order, numbered from 0.
        notes: what was left out, a line each.
    """

    units: list[Unit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def pictures(self) -> int | None:
        """How many pictures there are; None where a tar must be read to tell."""
        counts = [unit.pictures for unit in self.units]
        return None if None in counts else sum(count or 0 for count in counts)

    def digest(self) -> str:
        """Return 16 hexadecimal digits over all units."""
        digest = sha256()
        for unit in self.units:
            digest.update(f"{unit.identity()}\0".encode(errors="surrogatepass"))
        return digest.hexdigest()[:16]


def list_units(
    inputs: Sequence[str],
    shard_size: int,
    columns: Columns = Columns(),  # noqa: B008
    out: str | None = None,
) -> Listing:
    """Cut inputs into units of about `shard_size` pictures.

    Args:
        inputs: pictures, tars, Parquet files, folders of one kind of them (and all that is below), or .txt
            files that name such inputs, a line each; paths or addresses.
        shard_size: pictures a unit. A Parquet row group stays whole, and so does a tar that is compressed
            or lies on a server, as finding a member in it means reading all before it.
        columns: of Parquet files.
        out: the folder of the outputs, which are no inputs where it lies in one of those.

    Raises:
        ValueError: an input is of no known kind, a folder holds nothing, or a Parquet file no pictures.
        OSError: an input cannot be opened.
    """
    if shard_size < 1:
        raise ValueError(f"shard_size is {shard_size}; give pictures a shard, 1 or more")
    listing = Listing()
    files: list[tuple[str, str]] = []
    names = list(_unlisted(inputs))
    for name in names:
        for address, key in _expand(name, listing.notes.append, out):
            kind = _kind_of(address)
            if kind == "files":
                files.append((key, address))
            else:
                _add_files(listing, files, shard_size)
                cut = _tar_units if kind == "tar" else _parquet_units
                for unit in cut(address, shard_size, columns):
                    listing.units.append(replace(unit, number=len(listing.units), name=key))
    _add_files(listing, files, shard_size)
    if len(names) > 1:
        _check_keys(listing.units)
    return listing


def _unlisted(inputs: Iterable[str]) -> Iterator[str]:
    """Yield the inputs, with the lines of a .txt file in its place."""
    for name in inputs:
        if _suffix(name) not in LISTS:
            yield name
            continue
        check_there(name)
        with open_file(name) as file:
            lines = bytes(file.read()).decode().split("\n")
        yield from (line.strip() for line in lines if line.strip() and not line.startswith("#"))


def _expand(name: str, tell: Callable[[str], None], out: str | None) -> list[tuple[str, str]]:
    """Return address and key of what an input stands for.

    Raises:
        FileNotFoundError: nothing is there.
    """
    if not is_address(name):
        name = str(Path(name).absolute())  # the actors may have another working folder
    if not is_folder(name):
        check_there(name)
        return [(name, name if is_address(name) else Path(name).name)]
    endings = TARS | PARQUETS | ENDINGS
    found = [each for each in find_files(name, endings, tell, out) if not _is_gzip(each.name)]
    for kind in KINDS:
        taken = [(each.address, each.name) for each in found if _kind_of(each.name) == kind]
        if taken:
            if len(taken) < len(found):
                tell(f"{name}: {len(found) - len(taken)} files left out beside {len(taken)} {KINDS[kind]}")
            return taken
    raise ValueError(f"{name} holds neither pictures nor .tar or .parquet files")


def _is_gzip(name: str) -> bool:
    """Say whether it is a gzip file of anything but a tar."""
    return name.lower().endswith(".gz") and not name.lower().endswith(".tar.gz")


def _kind_of(address: str) -> Kind:
    suffix = _suffix(address)
    if suffix in TARS:
        return "tar"
    return "parquet" if suffix in PARQUETS else "files"


def _suffix(address: str) -> str:
    return PurePosixPath(address.partition("?")[0] if is_address(address) else address).suffix.lower()


def _add_files(listing: Listing, files: list[tuple[str, str]], shard_size: int) -> None:
    for start in range(0, len(files), shard_size):
        keys, addresses = zip(*files[start : start + shard_size], strict=True)
        number = len(listing.units)
        listing.units.append(Unit(number, "files", "", keys, addresses, pictures=len(keys)))
    files.clear()


def _check_keys(units: Iterable[Unit]) -> None:
    """Raise ValueError where two files would have one key: nobody could tell their rows apart."""
    seen: dict[str, str] = {}
    for unit in units:
        named = list(zip(unit.keys, unit.addresses, strict=True))
        if unit.kind == "parquet" and not unit.columns[1] and not unit.start:
            named = [(unit.name, unit.source)]  # and the numbers of its rows
        for key, address in named:
            if key in seen:
                raise ValueError(
                    f"{seen[key]} and {address} would both have the key {key}; give the folder above them"
                )
            seen[key] = address


def _tar_units(address: str, shard_size: int, columns: Columns) -> Iterator[Unit]:
    if is_address(address) or not tarfile.is_tarfile(address) or not _is_plain(address):
        yield Unit(0, "tar", address, stop=size_of(address))
        return
    starts: list[int] = []
    count = 0
    try:
        with tarfile.open(address, "r:") as tar:
            for member in tar:
                if member.isfile() and is_picture(member.name):
                    if count % shard_size == 0:
                        starts.append(member.offset)
                    count += 1
                tar.members.clear()  # type: ignore[attr-defined]  # or every header stays in memory
    except tarfile.TarError:
        pass  # reading says so in a row, behind what is whole
    for at, start in enumerate(starts or [0]):
        yield Unit(0, "tar", address, start=start, pictures=min(shard_size, count - at * shard_size))


def _is_plain(path: str) -> bool:
    try:
        with tarfile.open(path, "r:"):
            return True
    except tarfile.TarError:
        return False


def _parquet_units(address: str, shard_size: int, columns: Columns) -> Iterator[Unit]:
    pa, parquet = pyarrow()
    with open_file(address) as file:
        try:
            opened = parquet.ParquetFile(file)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{address} is no Parquet file: {one_line(error)}") from None
        names = columns_of(opened.schema_arrow, columns, address)
        rows = [opened.metadata.row_group(at).num_rows for at in range(opened.metadata.num_row_groups)]
    start = count = 0
    for at, more in enumerate(rows):
        count += more
        if count >= shard_size or at == len(rows) - 1:
            yield Unit(0, "parquet", address, start=start, stop=at + 1, pictures=count, columns=names)
            start, count = at + 1, 0


def columns_of(schema: Any, columns: Columns, address: str) -> tuple[str, str]:
    """Return the columns of pictures and keys that a Parquet file has; "" for keys that it has none of.

    Raises:
        ValueError: there is no such column, or it does not hold encoded pictures.
    """
    if has_info(schema):
        raise ValueError(f"{address} holds tokens; --decode makes pictures of them")
    pa, _ = pyarrow()
    holders = [each.name for each in schema if _holds_bytes(pa, each.type)]
    usual = [name for name in _IMAGE_COLUMNS if name in holders]
    image = columns.image or (holders[0] if len(holders) == 1 else next(iter(usual), None))
    if image is None or image not in holders:
        there = ", ".join(schema.names)
        raise ValueError(
            f"{address} has no column of encoded pictures{f' {image!r}' if image else ''}; "
            f"name one with --column, of: {there}"
        )
    key = columns.key or next((name for name in _KEY_COLUMNS if name in schema.names), "")
    if key and key not in schema.names:
        raise ValueError(f"{address} has no column {key!r} of keys; name one of: {', '.join(schema.names)}")
    return image, key


def _holds_bytes(pa: Any, kind: Any) -> bool:
    """Say whether a column is of bytes, or of structs with bytes, as those of Hugging Face datasets."""
    if pa.types.is_struct(kind):
        return any(each.name == "bytes" and _holds_bytes(pa, each.type) for each in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
