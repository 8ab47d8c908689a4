"""The Lightning data module of heads: codes from a cache, which it makes where there is none."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from onedpiece.codec import Codec
from onedpiece.training.codes.bar import bar
from onedpiece.training.codes.building import build
from onedpiece.training.codes.dataset import CodeDataset
from onedpiece.training.codes.sample import CodeSamples
from onedpiece.training.codes.source import TEST, TRAIN, Source
from onedpiece.training.data.order import endless_rows
from onedpiece.weights import load


class CodeData(LightningDataModule):
    """Tokenized photos with their targets; batch after batch follows from the seed and the batch's number.

    Args:
        cache: the Parquet file; made from `source` where it is not there.
        source: labelled photos.
        model: whose tokens these are, as `onedpiece.load` takes it; None: the bundled one.
        variants: views of training photos to make and to train on (see `view_named`).
        batch: photos a batch.
        split: what to validate on.
        seed: of the order.
        device: where photos are tokenized, as torch names it.
    """

    def __init__(
        self,
        cache: str,
        source: Source | None = None,
        model: str | None = None,
        variants: tuple[str, ...] = ("plain", "flip"),
        batch: int = 64,
        split: str = TEST,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.cache, self.source, self.model, self.variants = cache, source, model, variants
        self.batch, self.split, self.seed, self.device = batch, split, seed, device
        self.drawn = 0

    @cached_property
    def codec(self) -> Codec:
        """The model whose tokens these are."""
        return load(self.model, self.device)

    @cached_property
    def train(self) -> CodeDataset:
        """What is trained on; the cache must be there."""
        return CodeDataset(self.cache, TRAIN, self.codec.fingerprint, self.variants)

    @cached_property
    def test(self) -> CodeDataset:
        """What is validated on; the cache must be there."""
        return CodeDataset(self.cache, self.split, self.codec.fingerprint)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by number."""
        return self.test.facts.classes

    def prepare_data(self) -> None:
        """Tokenize the photos, unless that was done.

        Raises:
            ValueError: there is neither a cache nor a source.
        """
        if Path(self.cache).exists():
            return
        if self.source is None:
            raise ValueError(f"there is no {self.cache}; set data.source to tokenize photos, or data.cache")
        with bar("Tokenizing") as progress:
            build(self.cache, self.source, self.codec, self.variants, progress)

    def setup(self, stage: str) -> None:
        """Read the cache, so that what is wrong with it is said before anything starts."""
        _ = self.train, self.test

    def train_dataloader(self) -> Iterable[CodeSamples]:
        """Return endless batches that walk through one shuffle after the other."""
        return _EndlessBatches(self.train, self.batch, self.seed, self.drawn)

    def val_dataloader(self) -> Iterable[CodeSamples]:
        """Return what is validated on once, in order."""
        return OrderedBatches(self.test, self.batch)

    def on_after_batch_transfer(self, batch: CodeSamples, dataloader_idx: int) -> CodeSamples:
        """Count what was trained on."""
        if self.trainer is not None and self.trainer.training:
            self.drawn += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs to go on with the next batch."""
        return {"drawn": self.drawn}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.drawn = int(state_dict["drawn"])


class _EndlessBatches:
    def __init__(self, data: CodeDataset, batch: int, seed: int, start: int) -> None:
        self.data, self._numbers = data, (start, len(data), batch, seed)

    def __iter__(self) -> Iterator[CodeSamples]:
        for rows in endless_rows(*self._numbers):
            yield self.data.batch(rows)


class OrderedBatches:
    """A dataset once, in order.

    Args:
        data: the dataset.
        batch: samples a batch; the last may have fewer.
    """

    def __init__(self, data: CodeDataset, batch: int) -> None:
        self.data, self.size = data, batch

    def __iter__(self) -> Iterator[CodeSamples]:
        for start in range(0, len(self.data), self.size):
            yield self.data.batch(torch.arange(start, min(start + self.size, len(self.data))))

    def __len__(self) -> int:
        return (len(self.data) + self.size - 1) // self.size
