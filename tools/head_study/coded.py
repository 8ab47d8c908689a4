"""Photos as WebP and as our codec leave them at given bytes: what the networks on pixels are shown."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.codec.tensors import resize, to_tensor
from onedpiece.codec.view import apply_view, view_named
from onedpiece.evaluation.baselines import candidates, restore
from onedpiece.evaluation.formats import image_format
from onedpiece.metrics.pixel import psnr
from onedpiece.training.codes.base import Example
from onedpiece.training.codes.cache_file import Rows

Kind = Literal["webp", "ours"]

COUNTS = (8, 16, 32, 64, 128, 256)
"""Tokens of our files; WebP gets the bytes that each photo's own file of so many tokens has."""

_WEBP_FITS = (32, 64, 128, 256)  # WebP has no file of 16 tokens' 30 bytes
_PART = 128  # pictures a file on disk: what a killed run loses

Pixels = NDArray[np.uint8]


class Shown(NamedTuple):
    """One picture as a network on pixels is shown it.

    Attributes:
        pixels: (S, S, 3).
        bytes: of the whole file.
    """

    pixels: Pixels
    bytes: int


class CodedPictures(NamedTuple):
    """Several, in the order of their rows.

    Attributes:
        pixels: (R, S, S, 3).
        bytes: (R,) int64; 0 where nothing fits, and the picture is grey.
    """

    pixels: Pixels
    bytes: NDArray[np.int64]


@dataclass(frozen=True)
class Coder:
    """Makes such pictures of a cache's rows.

    Args:
        codec: made the cache.
        examples: the photos of the cache, by key.
        rows: of the cache.
    """

    codec: Codec
    examples: dict[str, Example]
    rows: Rows

    def shown(self, kind: Kind, row: int, count: int) -> Shown:
        """Return a row's picture: ours of `count` tokens, or WebP's of as many bytes."""
        code = self._code(row, count)
        size = self.file_bytes(row, count)
        if kind == "ours":
            return Shown(np.asarray(self.codec.decode(code)), size)
        return best_webp(self.picture(row), size)

    def file_bytes(self, row: int, count: int) -> int:
        """Return the size of a row's file of `count` tokens."""
        return len(self._code(row, count).to_bytes())

    def _code(self, row: int, count: int) -> Code:
        codec = self.codec
        codebook = codec.tokenizer.config.codebook_size
        return Code(self.rows.codes[row, :count].astype(np.int64), codebook, codec.fingerprint)

    def picture(self, row: int) -> Image.Image:
        """Return a row's view of its photo, as it was tokenized."""
        key = self.rows.keys[row]
        view = view_named(self.rows.variants[row], key)
        return resize(
            apply_view(self.examples[key].load().image, view), (self.codec.image_size, self.codec.image_size)
        )


def best_webp(image: Image.Image, budget: int) -> Shown:
    """Return the WebP file of best PSNR, over all scales and qualities, of at most `budget` bytes."""
    data = best_webp_file(image, budget)
    return Shown(webp_pixels(data, image.size), len(data))


def best_webp_file(image: Image.Image, budget: int) -> bytes:
    """Return the file itself; empty where none is small enough."""
    fmt = image_format("webp")
    files = candidates(image, fmt, [budget])
    if not files:
        return b""
    images = [restore(fmt, file.data, image.size) for file in files]
    return files[int(psnr(to_tensor([image]), to_tensor(images)).argmax())].data


def webp_pixels(data: bytes, size: tuple[int, int]) -> Pixels:
    """Return the picture of a file, brought back to `size`; grey where there is none."""
    if not data:
        return np.full((size[1], size[0], 3), 128, np.uint8)
    return np.asarray(restore(image_format("webp"), data, size))


def counts_of(kind: Kind, rows: int, seed: int = 0) -> list[int]:
    """Return a random token count for each training picture, one that the kind has files for."""
    choices = _WEBP_FITS if kind == "webp" else COUNTS
    return [int(count) for count in np.random.default_rng(seed).choice(choices, rows)]


def coded(
    folder: Path,
    coder: Coder,
    kind: Kind,
    rows: Sequence[int],
    counts: Sequence[int],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CodedPictures:
    """Return pictures from the folder's files, made first where they are missing.

    Args:
        folder: of this kind, these rows and these counts alone.
        coder: makes them.
        kind: which codec.
        rows: of the coder's.
        counts: of tokens, one a row.
        progress: told of pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / "pixels.npy", folder / "bytes.npy"
    if not all(path.exists() for path in whole):
        parts = []
        for start in range(0, len(rows), _PART):
            progress(start, len(rows))
            parts.append(folder / f"{start:06d}.npz")
            if not parts[-1].exists():
                jobs = zip(rows[start : start + _PART], counts[start : start + _PART], strict=True)
                _save(parts[-1], list(_shown(coder, kind, jobs)))
        _join(parts, len(rows), *whole)
    # Mapped, so that trainings side by side share the memory.
    return CodedPictures(np.load(whole[0], mmap_mode="c"), np.load(whole[1]))


def _join(parts: Sequence[Path], count: int, pixels: Path, sizes: Path) -> None:
    """Make two files of all parts, and remove these."""
    first = np.load(parts[0])["pixels"]
    partial = pixels.with_name(f".{pixels.name}.{os.getpid()}.partial")
    whole = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(count, *first.shape[1:]))
    for start, part in zip(range(0, count, _PART), parts, strict=True):
        whole[start : start + _PART] = np.load(part)["pixels"]
    whole.flush()
    np.save(sizes, np.concatenate([np.load(part)["bytes"] for part in parts]))
    partial.replace(pixels)
    for part in parts:
        part.unlink()


def _shown(coder: Coder, kind: Kind, jobs: Iterator[tuple[int, int]]) -> Iterator[Shown]:
    for row, count in jobs:
        yield coder.shown(kind, row, count)


def _save(path: Path, shown: Sequence[Shown]) -> None:
    partial = path.with_name(f".{path.name}.partial.npz")
    np.savez(
        partial,
        pixels=np.stack([each.pixels for each in shown]),
        bytes=np.array([each.bytes for each in shown], np.int64),
    )
    partial.replace(path)
