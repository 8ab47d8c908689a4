"""Lightning data modules: photographs for a tokenizer, labelled ones for a classifier.

A folder of pictures or WebDataset tars, resident in memory or streamed.
"""

import csv
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from onedpiece.training.augment import AugmentConfig, augment, to_unit
from onedpiece.training.data.cache import decoded
from onedpiece.training.data.files import Member, Split, folder_members, split, tar_members
from onedpiece.training.data.sampling import (
    FixedBatches,
    Place,
    ResidentBatches,
    StreamedBatches,
    decode_batch,
    endless_rows,
    generator_for,
    streamed_loader,
)

Mode = Literal["resident", "stream"]
"""`resident` decodes the set once into a uint8 tensor on the device; `stream` decodes as it goes."""


class PhotoData(LightningDataModule, ABC):
    """Square photographs, with a held-out share to validate on.

    Training never ends an epoch: batch after batch follows from the seed and the batch's number alone
    (`batch_rows`), so that a resumed run draws what the first one would have. The trainer gets float32
    (B, 3, size, size) in [0, 1] on its device; bytes travel, conversion and augmentation happen there.

    Args:
        path: where the pictures are.
        size: side in pixels; other pictures are scaled to it and cropped.
        batch: pictures a batch and process.
        mode: see `Mode`.
        cache: folder for the decoded set (`resident`), so that a restart need not decode; None: no cache.
        workers: processes that decode; 0 decodes in this one.
        val_share: share held out by the hash of the key; 0 validates on the training pictures.
        val_limit: most pictures to validate on.
        augment: what training pictures go through.
        seed: of order and augmentation.
    """

    def __init__(
        self,
        path: str,
        size: int = 256,
        batch: int = 32,
        mode: Mode = "resident",
        cache: str | None = None,
        workers: int = 2,
        val_share: float = 0.01,
        val_limit: int = 64,
        augment: AugmentConfig = AugmentConfig(),  # noqa: B008 (frozen)
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.path, self.size, self.batch, self.mode, self.cache = path, size, batch, mode, cache
        self.workers, self.val_share, self.val_limit, self.seed = workers, val_share, val_limit, seed
        self.augment = augment
        self.drawn = 0
        self._members: list[Member] = []
        self._split = Split([], [])
        self._pixels: Tensor | None = None

    @abstractmethod
    def members(self) -> list[Member]:
        """List all pictures, held-out ones included."""

    def prepare_data(self) -> None:
        """Decode the set into the cache; only the first process of a machine does."""
        if self.mode == "resident" and self.cache is not None:
            decoded(self.members(), self.size, self.cache, self.workers)

    def setup(self, stage: str) -> None:
        """List and split the pictures, and bring them to the device in `resident` mode."""
        if self._members:
            return
        self._members = self.members()
        self._split = split(self._members, self.val_share)
        if self.mode == "resident":
            self._pixels = self._load()

    def _load(self) -> Tensor:
        if self.cache is not None:
            return self._decoded(self.cache).to(self._device)
        with TemporaryDirectory(prefix="onedpiece-") as folder:
            return self._decoded(folder).clone().to(self._device)

    def _decoded(self, folder: str) -> Tensor:
        return torch.from_numpy(decoded(self._members, self.size, folder, self.workers))

    @property
    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    @property
    def _place(self) -> Place:
        return Place() if self.trainer is None else Place(self.trainer.global_rank, self.trainer.world_size)

    def train_dataloader(self) -> Iterable[Tensor]:
        """Return endless batches, from the first that was not drawn yet."""
        rows = self._split.train
        if self._pixels is not None:
            chosen = torch.tensor(rows, dtype=torch.int64)
            return ResidentBatches(self._pixels, chosen, self.batch, self.seed, self.drawn, self._place)
        members = [self._members[row] for row in rows]
        batches = StreamedBatches(members, self.size, self.batch, self.seed, self.drawn, self._place)
        return streamed_loader(batches, self.workers)

    def val_dataloader(self) -> Iterable[Tensor]:
        """Return the pictures to validate on, this process's share of them, once."""
        rows = (self._split.held_out or self._split.train)[: self.val_limit]
        return self._in_order(rows[self._place.rank :: self._place.world])

    def statistics_batches(self, limit: int = 2048) -> Iterable[Tensor]:
        """Yield up to `limit` training pictures as (B, 3, size, size) in [0, 1], on the CPU.

        The same ones in every process: what is fitted to them must not differ.
        """
        for pixels in self._in_order(self._split.train[:limit]):
            yield to_unit(pixels.cpu())

    def _in_order(self, rows: Sequence[int]) -> FixedBatches:
        chunks = [list(rows[start : start + self.batch]) for start in range(0, len(rows), self.batch)]
        if self._pixels is not None:
            return FixedBatches([self._pixels[chunk] for chunk in chunks])
        members = [[self._members[row] for row in chunk] for chunk in chunks]
        return FixedBatches([decode_batch(some, self.size) for some in members])

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        """Turn bytes into floats, and augment what is trained on."""
        x = to_unit(batch)
        if self.trainer is None or not self.trainer.training:
            return x
        generator = generator_for(x.device, "augment", self.seed, self._place.rank, self.drawn)
        self.drawn += 1
        return augment(x, self.augment, generator)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs to go on with the next batch."""
        return {"drawn": self.drawn}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.drawn = int(state_dict["drawn"])


class FolderData(PhotoData):
    """Pictures in a folder and below it.

    Args:
        path: the folder.
        include: glob patterns on the path below it.
        kwargs: see `PhotoData`.
    """

    def __init__(self, path: str, include: tuple[str, ...] = ("*",), **kwargs: Any) -> None:
        super().__init__(path, **kwargs)
        self.include = include

    def members(self) -> list[Member]:
        """List the folder's pictures."""
        return folder_members(self.path, self.include)


class TarData(PhotoData):
    """Pictures in WebDataset tars: KEY.webp, KEY.jpg or KEY.png, one file or a folder of shards."""

    def members(self) -> list[Member]:
        """List the tars' pictures."""
        return tar_members(self.path)


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
