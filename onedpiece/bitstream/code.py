"""`Code`: a picture as an ordered list of tokens, and the .odp file that holds it."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import index
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from onedpiece import _providers
from onedpiece._files import atomic_write_bytes
from onedpiece.bitstream.format import (
    MAX_FILE_BYTES,
    MAX_TOKENS,
    tells_its_length,
)
from onedpiece.bitstream.header import (
    Header,
    check_codebook_size,
    check_fingerprint,
    checked_indices,
    checked_size,
    read_header,
    write_header,
)
from onedpiece.bitstream.packing import (
    Tables,
    TablesOf,
    known_tables,
    pack,
    pack_entropy,
    unpack,
    unpack_entropy,
)
from onedpiece.bitstream.tiles import Tiles, check_tiles
from onedpiece.errors import EntropyTablesError, NoTokensError, TrailingDataError


@dataclass(frozen=True, eq=False, repr=False)
class Code:
    """An immutable code; `code[:k]` keeps the first k tokens, which are a coarser picture of the same photo.

    >>> code = Code(np.array([5, 17, 4000]), codebook_size=4096, fingerprint=b"demo", size=(320, 240))
    >>> len(code), list(code[:2]), code.tokens.dtype
    (3, [5, 17], torch.int64)
    >>> code.save("a.odp")
    >>> Code.open("a.odp") == code == Code.from_bytes(code.to_bytes())
    True

    Attributes:
        indices: (k,) int64, each in [0, codebook_size), read-only.
        codebook_size: entries of the model's codebook, 2 to 2^32.
        fingerprint: 4 bytes that name the code space, all that it takes to read the tokens.
        size: (width, height) of the photo in pixels; None is the model's own size.
        tiles: where the photo was cut into tiles, how, and how many tokens each has in the whole file; the
            indices are then in the order of `tiles.order`, and a prefix holds fewer.
        faithful: the look that the file asks for: the faithful picture instead of the sharp one.

    Raises:
        BitstreamError: a field that no .odp file can hold; the subclass and the message say which.
    """

    indices: NDArray[np.int64]
    codebook_size: int
    fingerprint: bytes
    size: tuple[int, int] | None = None
    tiles: Tiles | None = None
    faithful: bool = False

    def __post_init__(self) -> None:
        check_codebook_size(self.codebook_size)
        check_fingerprint(self.fingerprint)
        if self.size is not None:
            object.__setattr__(self, "size", checked_size(self.size))
        if self.tiles is not None:
            check_tiles(self.tiles, self.size, tells_its_length(self.codebook_size))
        object.__setattr__(self, "indices", checked_indices(self.indices, self.codebook_size, self._limit))

    @property
    def _limit(self) -> int:
        return MAX_TOKENS if self.tiles is None else sum(self.tiles.counts)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices.tolist())

    def __reduce__(self) -> tuple[Any, ...]:
        # As small as numpy makes it, and read-only again on arrival.
        fewest = np.min_scalar_type(self.codebook_size - 1)
        return type(self), (
            self.indices.astype(fewest),
            self.codebook_size,
            self.fingerprint,
            self.size,
            self.tiles,
            self.faithful,
        )

    def __getitem__(self, which: slice) -> Self:
        if not isinstance(which, slice):
            raise TypeError(
                "a code is cut, not indexed: code[:k] keeps k tokens; one token is code.indices[i]"
            )
        start, stop, step = which.indices(len(self))
        if start != 0 or step != 1:
            raise ValueError(f"only a prefix of a code is a code: code[:k]; found {which}")
        if stop < 1:
            raise NoTokensError(f"code[:{which.stop}] keeps no token; keep 1 to {len(self)}")
        return replace(self, indices=self.indices[:stop])

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Code) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        size = "model's own size" if self.size is None else "{}x{}".format(*self.size)
        tokens = "1 token" if len(self) == 1 else f"{len(self)} tokens"
        if self.tiles is not None:
            tokens += f" in {len(self.tiles.counts)} tiles"
        return f"<Code: {tokens} of {self.codebook_size}, {size}, model {self.fingerprint.hex()}>"

    @property
    def tokens(self) -> Any:
        """The indices as a torch tensor of its own, (k,) int64.

        Raises:
            MissingExtraError: torch is not installed.
        """
        return _providers.tensor_makers[-1](self.indices)

    def first(self, count: int) -> Self:
        """Return the code of the first `count` tokens; unlike `code[:count]`, never fewer than asked for.

        Raises:
            ValueError: `count` is not in 1 to len(self).
        """
        if not 1 <= index(count) <= len(self):
            raise ValueError(f"tokens is {count}; this code has 1 to {len(self)}")
        return self[:count]

    def fit(self, max_bytes: int, tables_of: TablesOf = known_tables) -> Self:
        """Return the longest prefix whose whole file has at most `max_bytes` bytes.

        Args:
            max_bytes: of the file that `to_bytes(tables_of)` gives.
            tables_of: as in `to_bytes`.

        Raises:
            ValueError: not even one token fits.
        """

        def size(count: int) -> int:
            return len(self[:count].to_bytes(tables_of))

        count = bisect_right(range(1, len(self) + 1), max_bytes, key=size)
        if not count:
            smallest = size(1)
            raise ValueError(f"max_bytes is {max_bytes}; the file of one token of this code takes {smallest}")
        return self[:count]

    def to_bytes(self, tables_of: TablesOf = known_tables) -> bytes:
        """Return a complete .odp file: the header, then at most ⌈k·log2(codebook_size)/8⌉ bytes.

        Args:
            tables_of: finds the entropy coder's tables of a model by its fingerprint, for a smaller file;
                by default those of bundled models and of models that were loaded in this process.
                `packing.no_tables` writes plain tokens.
        """
        header = self._header(self.tiles, None)
        plain = header + pack(self.indices, self.codebook_size)
        coded = self._to_entropy_coded_bytes(tables_of)
        return coded if coded is not None and len(coded) < len(plain) else plain

    def _to_entropy_coded_bytes(self, tables_of: TablesOf) -> bytes | None:
        # Tiles stay plain: one flipped bit would undo every tile after it, not one token.
        tables = None if self.tiles else tables_of(self.fingerprint)
        if tables is None or not tables.fits(self.codebook_size, len(self)):
            return None
        payload = pack_entropy(self.indices.tolist(), tables)
        if payload is None:
            return None
        return self._header(None, tables.id) + payload

    def _header(self, tiles: Tiles | None, tables_id: bytes | None) -> bytes:
        return write_header(
            self.fingerprint, self.size, self.codebook_size, len(self), tiles, tables_id, self.faithful
        )

    def save(self, path: str | PathLike[str], tables_of: TablesOf = known_tables) -> None:
        """Write the .odp file that `to_bytes` gives; it appears whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        atomic_write_bytes(path, self.to_bytes(tables_of))

    @classmethod
    def open(cls, path: str | PathLike[str], tables_of: TablesOf = known_tables) -> Self:
        """Read an .odp file, or a prefix of one; no network is needed.

        Raises:
            BitstreamError: as `from_bytes`.
            OSError: it cannot be opened.
        """
        with Path(path).open("rb") as file:
            return cls.read(file, tables_of)

    @classmethod
    def from_bytes(cls, data: bytes, tables_of: TablesOf = known_tables) -> Self:
        """Read a complete .odp file, or any prefix of one that still holds the header and a token.

        Args:
            data: the file's bytes.
            tables_of: as in `to_bytes`; entropy-coded files need the tables they were written with.

        Raises:
            BitstreamError: the subclass and the message say what was found and what was expected.
        """
        data = bytes(data)
        header = read_header(data)
        limit = MAX_TOKENS if header.tiles is None else sum(header.tiles.counts)
        if header.tables_id is None:
            indices = unpack(data[header.end :], header.codebook_size, header.token_count, limit)
        else:
            tables = _checked_tables(tables_of(header.fingerprint), header, len(data) - header.end)
            indices = np.array(_unpacked(data[header.end :], tables), np.int64)
        if not len(indices):
            raise NoTokensError(
                f"the file ends after {len(data)} bytes, before its first token; expected 1 or more"
            )
        return cls(
            indices, header.codebook_size, header.fingerprint, header.size, header.tiles, header.faithful
        )

    @classmethod
    def read(cls, file: BinaryIO, tables_of: TablesOf = known_tables) -> Self:
        """Read a file that is open for reading bytes, and no more of it than any .odp file has.

        Raises:
            BitstreamError: as `from_bytes`.
        """
        return cls.from_bytes(file.read(MAX_FILE_BYTES + 1), tables_of)

    def _key(self) -> tuple[object, ...]:
        tokens = self.indices.tobytes()
        return tokens, self.codebook_size, self.fingerprint, self.size, self.tiles, self.faithful


def _unpacked(payload: bytes, tables: Tables) -> list[int]:
    """Tokens of a payload, whole or cut short; behind the last one there may be nothing."""
    indices = unpack_entropy(payload, tables)
    if len(indices) == len(tables.positions):
        whole = pack_entropy(indices, tables)
        if whole is not None and len(payload) > len(whole):
            raise TrailingDataError(
                f"found {len(payload)} bytes of tokens; expected {len(whole)} for all {len(indices)} of them"
            )
    return indices


def _checked_tables(tables: Tables | None, header: Header, length: int) -> Tables:
    """The tables that a payload of `length` bytes was coded with, or the error that says why not."""
    if tables is None or header.tables_id is None:
        raise EntropyTablesError(
            f"the file is entropy coded; it takes the tables (entropy.json) of model "
            f"{header.fingerprint.hex()} to read it"
        )
    if tables.id != header.tables_id or not tables.fits(header.codebook_size, 0):
        raise EntropyTablesError(
            f"the file was coded with other tables than these of model {header.fingerprint.hex()}: "
            f"found {header.tables_id.hex()}, expected {tables.id.hex()}"
        )
    if length > tables.longest:
        raise TrailingDataError(f"found {length} bytes of tokens; expected at most {tables.longest}")
    return tables
