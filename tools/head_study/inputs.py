"""The three kinds of input of the study, each as batches to train on and as pictures to test on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from onedpiece._progress import progress_bar
from onedpiece.codec import Codec
from onedpiece.heads import code_space_of
from onedpiece.training.codes import CodeDataset, Source
from onedpiece.training.codes.base import TEST, TRAIN, CodeSamples
from onedpiece.training.codes.cache_file import read_rows
from tools.head_study.coded import COUNTS, CodedPictures, Coder, Kind, coded, counts_of

Input = Literal["codes", "webp", "ours"]
INPUTS: tuple[Input, ...] = ("codes", "webp", "ours")
"""Our tokens; pixels of WebP files of as many bytes; pixels of our decoded files."""

CODE_VIEWS = ("plain", "flip", "crop1")
PIXEL_VIEWS = ("plain", "crop1")  # the networks on pixels mirror half of them as they are drawn


class PixelSamples(NamedTuple):
    """Several pictures with their classes.

    Attributes:
        pixels: (B, S, S, 3) uint8.
        targets: (B,) int64.
    """

    pixels: Tensor
    targets: Tensor


@dataclass(frozen=True)
class PixelSet:
    """Pictures in memory.

    Attributes:
        pixels: (R, S, S, 3) uint8.
        bytes: (R,) int64, of their files; 0 where there is none.
        targets: (R,) int64.
    """

    pixels: Tensor
    bytes: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, rows: Tensor) -> PixelSamples:
        """Return some rows."""
        return PixelSamples(self.pixels[rows], self.targets[rows])


@dataclass(frozen=True)
class Material:
    """A cache of codes, and where the pictures that belong to it are kept.

    Args:
        cache: the codes.
        source: their photos.
        codec: made them.
        folder: for pictures; a folder a model lies in it.
        limit: most photos of each split; None: all. For tests.
    """

    cache: Path
    source: Source
    codec: Codec
    folder: Path
    limit: int | None = None

    def codes(self, split: str) -> CodeDataset:
        """Return the tokens of a split."""
        variants = CODE_VIEWS if split == TRAIN else None
        return CodeDataset(self.cache, split, code_space_of(self.codec), variants)

    def training_pictures(self, kind: Kind) -> PixelSet:
        """Return the training photos, each view at one random token count."""
        coder = self._coder(TRAIN, PIXEL_VIEWS)
        rows = range(len(coder.rows.keys))[: self.limit]
        return self._pictures(coder, kind, list(rows), counts_of(kind, len(rows)), "train")

    def test_pictures(self, kind: Kind) -> Iterator[tuple[int, PixelSet]]:
        """Yield each token count with the test photos at it."""
        coder = self._coder(TEST, ("plain",))
        rows = list(range(len(coder.rows.keys))[: self.limit])
        for count in COUNTS:
            yield count, self._pictures(coder, kind, rows, [count] * len(rows), f"test-{count}")

    def code_bytes(self, count: int) -> float:
        """Return the mean size of our test files of `count` tokens."""
        coder = self._coder(TEST, ("plain",))
        rows = range(len(coder.rows.keys))[: self.limit]
        return float(np.mean([coder.file_bytes(row, count) for row in rows]))

    def _coder(self, split: str, variants: tuple[str, ...]) -> Coder:
        examples = {example.key: example for example in self.source.examples()}
        return Coder(self.codec, examples, read_rows(self.cache, split, variants))

    def _pictures(self, coder: Coder, kind: Kind, rows: list[int], counts: list[int], name: str) -> PixelSet:
        folder = self.folder / self.codec.fingerprint.hex() / f"{kind}-{name}"
        with progress_bar(f"{kind} {name}") as progress:
            pictures: CodedPictures = coded(folder, coder, kind, rows, counts, progress)
        targets = torch.tensor([int.from_bytes(coder.rows.targets[row], "little") for row in rows])
        return PixelSet(torch.from_numpy(pictures.pixels), torch.from_numpy(pictures.bytes), targets)


Samples = CodeSamples | PixelSamples
