"""Labelled photographs for fine-tuning classifiers with a re-tokenizer."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from onedpiece.training.data.augment import AugmentConfig, augment, to_unit
from onedpiece.training.data.cache import decoded
from onedpiece.training.data.members import Member, folder_members, tar_members
from onedpiece.training.data.order import endless_rows
from onedpiece.training.seeds import generator_for


class Labelled(NamedTuple):
    """A batch.

    Attributes:
        x: (B, 3, S, S), uint8 as loaded, float32 in [0, 1] on its way into a network.
        target: (B,) int64.
    """

    x: Tensor
    target: Tensor


def read_labels(index: str | Path) -> dict[str, str]:
    """Read the labelled rows of a tab-separated index with the columns `key` and `label`.

    Raises:
        ValueError: no row has a label.
    """
    with Path(index).open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        labels = {row["key"]: row["label"] for row in rows if row.get("label")}
    if not labels:
        raise ValueError(f"{index} has no labelled row; set data.index to a file with columns key and label")
    return labels


class LabelledData(LightningDataModule):
    """Photos in WebDataset tars, labelled by an index; a folder for each class to test on.

    Args:
        path: the training tars' folder.
        index: the index that labels their keys (see `read_labels`).
        val_path: folder with one subfolder of pictures for each label.
        size: side in pixels.
        batch: pictures a batch.
        cache: folder for the decoded sets; None: no cache.
        workers: processes that decode; 0 decodes in this one.
        augment: what training pictures go through.
        seed: of order and augmentation.
    """

    def __init__(
        self,
        path: str = "../shared/data/train",
        index: str = "../shared/data/train/index.tsv",
        val_path: str = "../shared/data/downstream/imagenette_val",
        size: int = 224,
        batch: int = 64,
        cache: str | None = None,
        workers: int = 2,
        augment: AugmentConfig = AugmentConfig(min_scale=0.5),  # noqa: B008 (frozen)
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.path, self.index, self.val_path = path, index, val_path
        self.size, self.batch, self.cache, self.workers, self.seed = size, batch, cache, workers, seed
        self.augment = augment
        self.drawn = 0
        self.classes: list[str] = []
        self._sets: dict[str, Labelled] = {}

    def setup(self, stage: str) -> None:
        """Decode both sets into memory."""
        if self._sets:
            return
        labels = read_labels(self.index)
        self.classes = sorted(set(labels.values()))
        train = [member for member in tar_members(self.path) if member.key in labels]
        val = folder_members(self.val_path)
        self._sets["train"] = self._load(train, [labels[member.key] for member in train])
        self._sets["val"] = self._load(val, [member.key.split("/")[0] for member in val])

    def _load(self, members: Sequence[Member], labels: Sequence[str]) -> Labelled:
        unknown = sorted(set(labels) - set(self.classes))
        if unknown:
            raise ValueError(
                f"{self.val_path} has folders {', '.join(unknown)} that {self.index} does not label"
            )
        target = torch.tensor([self.classes.index(label) for label in labels])
        if self.cache is not None:
            return Labelled(self._decoded(members, self.cache), target)
        with TemporaryDirectory(prefix="onedpiece-") as folder:
            return Labelled(self._decoded(members, folder).clone(), target)

    def _decoded(self, members: Sequence[Member], folder: str) -> Tensor:
        return torch.from_numpy(decoded(members, self.size, folder, self.workers))

    def train_dataloader(self) -> Iterable[Labelled]:
        """Return endless batches that walk through one shuffle after the other."""
        return _EndlessBatches(self._sets["train"], self.batch, self.seed)

    def val_dataloader(self) -> Iterable[Labelled]:
        """Return the test pictures once, in order."""
        return _OrderedBatches(self._sets["val"], self.batch)

    def on_after_batch_transfer(self, batch: Labelled, dataloader_idx: int) -> Labelled:
        """Turn bytes into floats, and augment what is trained on."""
        x = to_unit(batch.x)
        if self.trainer is None or not self.trainer.training:
            return Labelled(x, batch.target)
        generator = generator_for(x.device, "augment", self.seed, self.drawn)
        self.drawn += 1
        return Labelled(augment(x, self.augment, generator), batch.target)


class _EndlessBatches:
    def __init__(self, data: Labelled, batch: int, seed: int) -> None:
        self.data, self.batch, self.seed = data, batch, seed

    def __iter__(self) -> Iterator[Labelled]:
        for rows in endless_rows(0, len(self.data.target), self.batch, self.seed):
            yield Labelled(self.data.x[rows], self.data.target[rows])


class _OrderedBatches:
    def __init__(self, data: Labelled, batch: int) -> None:
        self.data, self.batch = data, batch

    def __iter__(self) -> Iterator[Labelled]:
        for start in range(0, len(self.data.target), self.batch):
            rows = slice(start, start + self.batch)
            yield Labelled(self.data.x[rows], self.data.target[rows])

    def __len__(self) -> int:
        return (len(self.data.target) + self.batch - 1) // self.batch
