"""Where streamed pictures come from: WebDataset tars, Parquet files and Hugging Face data sets, by shards.

A shard is read from its start to its end, so that it may lie anywhere: in a folder, behind http(s) or a
pipe, or in a store that fsspec knows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from glob import glob
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from onedpiece._files import one_line
from onedpiece.codec.find import is_picture
from onedpiece.errors import MissingExtraError, ShardError

ROWS = 64
"""Rows of a Parquet file that are in memory at once."""

VIRTUAL_SHARD = 1000
"""Rows of a data set in memory-mapped files that count as one shard."""


class EncodedPicture(NamedTuple):
    """One picture as it lies in a shard: `data` is a file of any format that Pillow reads."""

    key: str
    data: bytes


class StreamSource(ABC):
    """Pictures in shards; shards are told apart, and named in messages, by a string."""

    @abstractmethod
    def shards(self) -> list[str]:
        """List the shards, always in the same order.

        Raises:
            FileNotFoundError: there is none.
        """

    @abstractmethod
    def pictures(self, shard: str) -> Iterator[EncodedPicture]:
        """Yield a shard's pictures in its order; any error but a missing library may come out."""

    def read(self, shard: str) -> Iterator[EncodedPicture]:
        """Yield a shard's pictures in its order.

        Raises:
            ShardError: it cannot be opened, or is damaged; the message names it. What came before is whole.
            MissingExtraError: a library that this takes is not installed.
        """
        found = 0
        try:
            for picture in self.pictures(shard):
                found += 1
                yield picture
        except ImportError as error:
            raise MissingExtraError(
                f"reading {shard} takes a library that is not there ({one_line(error)}); "
                "pip install 'onedpiece[training]', for s3:// s3fs, for gs:// gcsfs"
            ) from error
        except Exception as error:  # every protocol and format has errors of its own
            reason = one_line(error, named=True).split(" @ ")[0]
            where = f"behind its picture {found}" if found else "from its beginning"
            raise ShardError(
                f"{shard} cannot be read {where} ({reason}); check it, or set data.init_args.on_error to skip"
            ) from error


class TarShards(StreamSource):
    """WebDataset tars, compressed or not: KEY.webp, KEY.jpg and so on.

    Args:
        urls: paths, globs, folders of .tar files, `https://…`, `pipe:COMMAND`, `hf://…`, or what fsspec
            opens, as `s3://…`; braces list shards, as in `train-{000..127}.tar`, and `::` separates several.
    """

    def __init__(self, urls: str | Sequence[str]) -> None:
        self.urls = urls

    def shards(self) -> list[str]:
        """List the tars: as they are named, a folder's and a glob's sorted."""
        return expand(self.urls, "*.tar")

    def pictures(self, shard: str) -> Iterator[EncodedPicture]:
        """Yield what has a picture's name; a damaged tar gives what is whole."""
        from webdataset.tariterators import tar_file_iterator

        with closing(open_url(shard)) as stream:
            for file in tar_file_iterator(stream, select_files=is_picture):
                yield EncodedPicture(str(PurePosixPath(file["fname"]).with_suffix("")), file["data"])


class ParquetShards(StreamSource):
    """Parquet files with a column of encoded pictures: bytes, or Hugging Face's struct of bytes and path.

    Args:
        urls: as for `TarShards`, without pipes; of folders all .parquet files.
        column: the pictures'.
        key: the column of their names; None: the struct's path, else file and row.
    """

    def __init__(self, urls: str | Sequence[str], column: str = "image", key: str | None = None) -> None:
        self.urls, self.column, self.key = urls, column, key

    def shards(self) -> list[str]:
        """List the files."""
        return expand(self.urls, "*.parquet")

    def pictures(self, shard: str) -> Iterator[EncodedPicture]:
        """Yield the rows."""
        import fsspec
        from pyarrow.parquet import ParquetFile

        wanted = [self.column] if self.key is None else [self.column, self.key]
        with fsspec.open(shard, "rb") as file:
            table = ParquetFile(file)
            missing = sorted(set(wanted) - set(table.schema_arrow.names))
            if missing:
                there = ", ".join(table.schema_arrow.names)
                raise ValueError(f"it has no column {missing[0]!r}; there are: {there}")
            row = 0
            for batch in table.iter_batches(ROWS, columns=wanted):
                for values in batch.to_pylist():
                    name = values[self.key] if self.key is not None else f"{Path(shard).stem}/{row:06d}"
                    yield _of_cell(values[self.column], str(name), named=self.key is not None)
                    row += 1


class HuggingFaceDataset(StreamSource):
    """A data set of the Hugging Face hub, or of a folder that `Dataset.save_to_disk` wrote.

    Args:
        name: OWNER/NAME, or the folder; `parquet`, `webdataset` and so on with `data_files`.
        split: of it.
        column: the pictures'.
        config: the configuration's name, where there are several.
        data_files: as `datasets.load_dataset` takes it.
        streaming: fetch shards as they are read; False: fetch the whole set first.
    """

    def __init__(
        self,
        name: str,
        split: str = "train",
        column: str = "image",
        config: str | None = None,
        data_files: str | None = None,
        streaming: bool = True,
    ) -> None:
        self.name, self.split, self.column, self.config = name, split, column, config
        self.data_files, self.streaming = data_files, streaming

    @cached_property
    def _rows(self) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise MissingExtraError(
                "Hugging Face data sets need an extra: pip install 'onedpiece[training]'"
            ) from error
        if (Path(self.name) / "state.json").is_file():
            rows = datasets.load_from_disk(self.name)
        else:
            rows = datasets.load_dataset(
                self.name, self.config, split=self.split, data_files=self.data_files, streaming=self.streaming
            )
        return rows.cast_column(self.column, datasets.Image(decode=False))

    @property
    def _count(self) -> int:
        shards = int(self._rows.num_shards) if hasattr(self._rows, "num_shards") else 1
        rows = len(self._rows) if hasattr(self._rows, "__len__") else 0
        return max(shards, -(-rows // VIRTUAL_SHARD))

    def shards(self) -> list[str]:
        """List what the set is stored in, or pieces of `VIRTUAL_SHARD` rows."""
        return [f"{self.name}#{number}" for number in range(self._count)]

    def pictures(self, shard: str) -> Iterator[EncodedPicture]:
        """Yield the rows of one."""
        rows = self._rows.shard(self._count, int(shard.rpartition("#")[2]), contiguous=True)
        for row, values in enumerate(rows):
            yield _of_cell(values[self.column], f"{shard}/{row:06d}")


def _of_cell(cell: Any, name: str, *, named: bool = False) -> EncodedPicture:
    """Return the picture in a cell: bytes, or a mapping with bytes or a path."""
    if not isinstance(cell, dict):
        return EncodedPicture(name, bytes(cell or b""))
    path = cell.get("path")
    data = cell.get("bytes")
    if data is None and path is not None:
        data = Path(path).read_bytes()
    return EncodedPicture(str(path) if path and not named else name, data or b"")


def expand(urls: str | Sequence[str], pattern: str) -> list[str]:
    """Return the shards that are meant: braces and `::` resolved, folders and globs listed.

    Args:
        urls: one string or several.
        pattern: of a folder's files.

    Raises:
        FileNotFoundError: nothing is there; the message names what was given.
        MissingExtraError: webdataset is not installed.
    """
    expand_urls = _expander()
    each = [urls] if isinstance(urls, str) else list(urls)
    found = [shard for text in each for url in expand_urls(text) for shard in _local(url, pattern)]
    if not found:
        raise FileNotFoundError(f"no {pattern} at {' '.join(each)}; set data.init_args.source.init_args.urls")
    return found


def _local(url: str, pattern: str) -> list[str]:
    if Path(url).is_dir():
        return sorted(str(path) for path in Path(url).glob(pattern))
    if ":" not in url and any(sign in url for sign in "*?["):
        return sorted(glob(url))  # noqa: PTH207 (the pattern may be an absolute path)
    return [url]


def _expander() -> Callable[[str], list[str]]:
    with _streaming_extra():
        from webdataset.shardlists import expand_urls
    return expand_urls  # type: ignore[no-any-return]


@contextmanager
def _streaming_extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise MissingExtraError("streaming needs an extra: pip install 'onedpiece[training]'") from error


def open_url(url: str) -> Any:
    """Open a path, a pipe or a URL for reading bytes from its start to its end; whoever opens it closes it.

    webdataset knows pipes, http(s) (by curl), hf:// and more; for all other schemes there is fsspec.

    Raises:
        Exception: whatever the protocol raises where nothing is there.
    """
    from webdataset.gopen import gopen, gopen_schemes

    scheme, separator, _ = url.partition(":")
    if separator and len(scheme) > 1 and scheme not in {*gopen_schemes, "file"}:
        import fsspec

        return fsspec.open(url, "rb").open()
    return gopen(url)
