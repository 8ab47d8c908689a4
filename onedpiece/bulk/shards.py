"""One unit's output: a Parquet shard of rows, and where wanted its .odp files; there whole or not at all.

The rows appear last: a shard is done when its Parquet file is there.
"""

import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any, Literal

from onedpiece.bulk.storage import Folder
from onedpiece.codec.find import ENDINGS
from onedpiece.codes import ROWS, ShardInfo, pyarrow

Layout = Literal["parquet", "webdataset", "tree"]
"""Rows alone; a tar of files beside them; or a folder of files beside them."""

Row = dict[str, Any]
COUNTS_KEY = b"onedpiece.counts"
"""Under which a shard's metadata hold how many pictures, rows, errors, tokens and bytes it has."""

TRIES_ENDING = ".tries"
"""Of the note that is there while a worker is at a unit."""

SHOWN = 5  # failures of a shard that are told
_LONGEST = 200  # characters of a file's name that any file system takes


def name_of(number: int) -> str:
    """Return what a unit's shard is called, without an ending."""
    return f"{number:05d}"


def row_folder(layout: Layout) -> str:
    """Return the folder of the Parquet shards below that of the outputs; "" for that one itself."""
    return "" if layout == "parquet" else ROWS


def row_name(number: int, layout: Layout) -> str:
    """Return the name of a unit's Parquet shard below the folder of the outputs."""
    return f"{row_folder(layout)}/{name_of(number)}.parquet".lstrip("/")


def finished(folder: Folder, layout: Layout) -> set[int]:
    """Return the numbers of the shards that are done."""
    names = [name.removesuffix(".parquet") for name in folder.names(row_folder(layout))]
    return {int(name) for name in names if name.isdigit()}


def token_schema() -> Any:
    """Return the pyarrow schema of rows of tokens.

    `width` and `height` are the photo's, `box` is the part of it that was tokenized (left, top, right and
    bottom in pixels); all three are 0 or null where it could not be read. `count` is that of the tokens,
    `bytes` the size of their .odp file, `score` what was asked for, and `error` why there are no tokens.
    """
    pa, _ = pyarrow()
    return pa.schema(
        [
            ("key", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("box", pa.list_(pa.int32())),
            ("tokens", pa.list_(pa.uint16())),
            ("count", pa.int32()),
            ("bytes", pa.int32()),
            ("code_space", pa.string()),
            ("score", pa.float64()),
            ("warning", pa.string()),
            ("error", pa.string()),
        ]
    )


def picture_schema() -> Any:
    """Return the pyarrow schema of what decoding wrote: `file` is the picture's name in its folder."""
    pa, _ = pyarrow()
    columns = [("key", pa.string()), ("width", pa.int32()), ("height", pa.int32())]
    return pa.schema([*columns, ("file", pa.string()), ("bytes", pa.int32()), ("error", pa.string())])


class FileNames:
    """Names of a shard's files, from the keys of its rows: safe below a folder, and no two alike.

    Args:
        dotless: names have no dot but that of the ending: WebDataset ends a sample's key at the first one.
    """

    def __init__(self, *, dotless: bool = False) -> None:
        self.dotless = dotless
        self._taken: set[str] = set()

    def take(self, key: str, ending: str) -> str:
        """Return the name of a row's file: the key with another ending, and a number where it is taken."""
        path = PurePosixPath(key.replace("://", "/").replace("\0", "_"))
        parts = [_short(part) for part in path.parts if part not in ("/", ".", "..")]
        last = parts.pop() if parts else "picture"
        stem = last[: -len(path.suffix)] if path.suffix.lower() in ENDINGS else last
        names = [stem, last]
        number = 1
        while (name := "/".join([*parts, self._plain(names[0]) + ending])) in self._taken:
            names = [*names[1:], f"{stem}.{(number := number + 1)}"]
        self._taken.add(name)
        return name

    def _plain(self, name: str) -> str:
        return name.replace(".", "_") if self.dotless else name


def _short(part: str) -> str:
    if len(part.encode(errors="replace")) <= _LONGEST:
        return part
    return f"{part[: _LONGEST // 4]}-{sha256(part.encode(errors='replace')).hexdigest()[:16]}"


class Shard:
    """The rows and files of one unit while they are written; see `writing_shard`."""

    def __init__(self, writer: Any, schema: Any, files: "_Files", names: FileNames) -> None:
        self._writer, self._schema, self._files, self.names = writer, schema, files, names
        self.counts = Counter(dict.fromkeys(("pictures", "rows", "errors", "tokens", "bytes"), 0))
        self.failures: list[tuple[str, str]] = []
        """Key and error of the first rows that have one."""

    def add(self, rows: Sequence[Row], pictures: int) -> None:
        """Write the rows of so many pictures."""
        pa, _ = pyarrow()
        self._writer.write_table(pa.Table.from_pylist(list(rows), self._schema))
        failed = [(str(row["key"]), str(row["error"])) for row in rows if row["error"] is not None]
        self.failures = (self.failures + failed)[:SHOWN]
        self.counts.update(
            pictures=pictures,
            rows=len(rows),
            errors=len(failed),
            tokens=sum(row.get("count", 0) for row in rows),
            bytes=sum(row["bytes"] for row in rows),
        )

    def add_file(self, key: str, ending: str, data: bytes) -> str:
        """Write a row's file and return its name; nothing where only rows are wanted."""
        name = self.names.take(key, ending)
        self._files.add(name, data)
        return name


@contextmanager
def writing_shard(
    folder: Folder, number: int, layout: Layout, schema: Any, info: ShardInfo | None
) -> Iterator[Shard]:
    """Open a unit's shard; its files and then its rows take their names when the block ends well.

    Args:
        folder: of the outputs.
        number: of the unit.
        layout: what to write.
        schema: of the rows.
        info: of rows of tokens, goes into the schema's metadata.

    Raises:
        OSError: it cannot be written.
    """
    _, parquet = pyarrow()
    schema = schema.with_metadata(info.to_metadata()) if info else schema
    with (
        folder.writing(row_name(number, layout)) as stream,
        parquet.ParquetWriter(stream, schema, compression="zstd") as writer,
        _files(folder, number, layout) as files,
    ):
        shard = Shard(writer, schema, files, FileNames(dotless=layout == "webdataset"))
        yield shard
        writer.add_key_value_metadata({COUNTS_KEY: json.dumps(shard.counts).encode()})


def read_counts(folder: Folder, number: int, layout: Layout) -> Counter[str]:
    """Return the counts of a shard that is done."""
    _, parquet = pyarrow()
    with folder.open(row_name(number, layout)) as file:
        return Counter(json.loads(parquet.ParquetFile(file).metadata.metadata[COUNTS_KEY]))


class _Files:
    """Takes files and keeps none."""

    def add(self, name: str, data: bytes) -> None:
        """Take a file."""


class _Tar(_Files):
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)  # without a time: the same pictures make the same tar
        member.size = len(data)
        self._tar.addfile(member, BytesIO(data))


class _Tree(_Files):
    def __init__(self, folder: Folder, below: str) -> None:
        self._folder, self._below = folder, below

    def add(self, name: str, data: bytes) -> None:
        with self._folder.writing(f"{self._below}/{name}") as stream:
            stream.write(data)


@contextmanager
def _files(folder: Folder, number: int, layout: Layout) -> Iterator[_Files]:
    name = name_of(number)
    if layout == "webdataset":
        with folder.writing(f"{name}.tar") as stream, tarfile.open(fileobj=stream, mode="w|") as tar:
            yield _Tar(tar)
    elif layout == "tree":
        if name in folder.folders():  # of a run that was killed over it
            folder.remove(name)
        yield _Tree(folder, name)
    else:
        yield _Files()
