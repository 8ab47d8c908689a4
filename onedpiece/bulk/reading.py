"""The pictures of a unit: their bytes one after the other, and decoded a batch ahead of the network."""

import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from onedpiece._files import one_line
from onedpiece.bulk.storage import is_address, open_file
from onedpiece.bulk.units import Unit
from onedpiece.codec.find import is_picture
from onedpiece.codes import pyarrow
from onedpiece.errors import PictureError

T = TypeVar("T")
AHEAD = 2  # batches that are read while one is at work


class Encoded(NamedTuple):
    """A picture's key, and what gives its encoded bytes: at once, or from where they lie."""

    key: str
    load: Callable[[], bytes]


def read_unit(unit: Unit) -> Iterator[Encoded]:
    """Yield the pictures of a unit in order.

    Raises:
        OSError: the tar or Parquet file cannot be opened. What is wrong with one picture, its `load` raises.
    """
    if unit.kind == "files":
        for key, address in zip(unit.keys, unit.addresses, strict=True):
            yield Encoded(key, partial(_load, address))
    elif unit.kind == "tar":
        yield from _in_tar(unit)
    else:
        yield from _in_parquet(unit)


def _load(address: str) -> bytes:
    """Return a file's bytes; a server that fails is asked again, twice."""
    for wait in (1, 4, None):
        try:
            with open_file(address) as file:
                return bytes(file.read())
        except FileNotFoundError:
            raise
        except Exception:  # fsspec's own and its libraries'
            if wait is None or not is_address(address):
                raise
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _in_tar(unit: Unit) -> Iterator[Encoded]:
    count = 0
    with ExitStack() as stack:
        file = stack.enter_context(open_file(unit.source))
        file.seek(unit.start)
        try:
            tar = stack.enter_context(tarfile.open(fileobj=file, mode="r|" if unit.start else "r|*"))
            for member in tar:
                tar.members.clear()  # type: ignore[attr-defined]  # or every header stays in memory
                if not (member.isfile() and is_picture(member.name)):
                    continue
                if count == unit.pictures:
                    return
                count += 1
                content = tar.extractfile(member)
                data = b"" if content is None else content.read()
                yield Encoded(member.name.removeprefix("./"), partial(bytes, data))
        except (tarfile.TarError, EOFError) as error:
            text = f"{unit.source} is damaged behind its picture {count}: {one_line(error)}"
            yield Encoded(f"{unit.name}#{count}", partial(_raise, text))


def _raise(text: str) -> bytes:
    raise PictureError(text)


def _in_parquet(unit: Unit) -> Iterator[Encoded]:
    _, parquet = pyarrow()
    with open_file(unit.source) as file:
        opened = parquet.ParquetFile(file)
        sizes = [opened.metadata.row_group(at).num_rows for at in range(unit.stop)]
        for at in range(unit.start, unit.stop):
            places = [f"{unit.name}#{row}" for row in range(sum(sizes[:at]), sum(sizes[: at + 1]))]
            yield from _in_row_group(opened, unit, at, places)


def _in_row_group(opened: Any, unit: Unit, group: int, places: Sequence[str]) -> Iterator[Encoded]:
    """Yield a row group's pictures; of a damaged one, an error for each row from there on."""
    pa, _ = pyarrow()
    image, key = unit.columns
    left = deque(places)
    try:
        for batch in opened.iter_batches(64, row_groups=[group], columns=[image, key] if key else [image]):
            keys = batch.column(key).to_pylist() if key else [None] * len(batch)
            for cell, name in zip(batch.column(image), keys, strict=True):
                yield _of_row(cell.as_py(), name, left.popleft())
    except (pa.ArrowInvalid, OSError) as error:
        if is_address(unit.source):  # a server may answer the next time
            raise
        text = f"row group {group} of {unit.source} is damaged: {one_line(error)}"
        for place in left:
            yield Encoded(place, partial(_raise, text))


def _of_row(cell: Any, name: Any, place: str) -> Encoded:
    """Return the picture of a row; its key is the key column's, or the struct's path, or file and number."""
    path = None
    if isinstance(cell, dict):
        cell, path = cell.get("bytes"), cell.get("path")
    key = place if name is None and not path else str(path if name is None else name)
    if cell is None:
        return Encoded(key, partial(_raise, "the row holds no picture"))
    return Encoded(key, partial(bytes, cell))


def batches_ahead(
    encoded: Iterator[Encoded], size: int, prepare: Callable[[Encoded], T], threads: int
) -> Iterator[Sequence[T]]:
    """Yield batches of prepared pictures in order, the next ones under way on other threads.

    Args:
        encoded: the pictures.
        size: pictures a batch.
        prepare: reads and decodes one; raises nothing.
        threads: how many do so at a time.
    """
    with ThreadPoolExecutor(threads) as pool:
        coming: deque[list[Future[T]]] = deque()
        while True:
            while len(coming) <= AHEAD:
                coming.append([pool.submit(prepare, each) for each in islice(encoded, size)])
            batch = coming.popleft()
            if not batch:
                return
            yield [each.result() for each in batch]
