"""The data module of labelled photos, for classifiers: image folders, or WebDataset tars with an index."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from onedpiece.training.augment import AugmentConfig
from onedpiece.training.classifier_augment import RandAugment
from onedpiece.training.data.cache import decoded
from onedpiece.training.data.files import Member, OnError, folder_members, label_of, tar_members
from onedpiece.training.data.modules import Mode, ResumableData, check_host_memory
from onedpiece.training.data.sampling import (
    EndlessBatches,
    Labelled,
    OrderedBatches,
    StreamedBatches,
    StreamedLoader,
    decode_batch,
)


def read_labels(index: str | Path) -> dict[str, str]:
    """Read the labelled rows of a tab-separated index with the columns `key` and `label`.

    Raises:
        ValueError: no row has a label.
    """
    with Path(index).open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        labels = {row["key"]: row["label"] for row in rows if row.get("key") and row.get("label")}
    if not labels:
        raise ValueError(f"{index} has no labelled row; set data.index to a file with columns key and label")
    return labels


class LabelledData(ResumableData):
    """Labelled photos to train and to test on.

    Without `index` both are image folders, as ImageNet and Imagenette are published: a subfolder of pictures
    for each label. With it, training photos lie in WebDataset tars.

    Args:
        path: a folder with `train` and `val` in it, or of a subfolder for each label, also beside `val`; with
            `index`, of tars.
        index: the index that labels their keys (see `read_labels`); None: folders are labels.
        val_path: folder with one subfolder of pictures for each label; None: `val` below `path`.
        size: side in pixels.
        batch: pictures a batch.
        mode: `resident` decodes both sets into memory; `stream` decodes training photos as it goes.
        cache: folder for the decoded sets; None: no cache.
        workers: processes that decode; 0 decodes in this one.
        augment: what training pictures go through.
        rand_augment: timm's policy for training photos, as rand-m9-mstd0.5-inc1; needs mode `stream`.
        seed: of order and augmentation.
        on_error: of a picture or shard that cannot be read: `stop`, or `skip`, which names and counts it.

    Attributes:
        classes: the labels by number, sorted.

    Raises:
        ValueError: the test photos have a label that those to train on have not, or one lies in no folder.
        OSError: something is not there.
    """

    def __init__(
        self,
        path: str,
        index: str | None = None,
        val_path: str | None = None,
        size: int = 224,
        batch: int = 64,
        mode: Mode = "resident",
        cache: str | None = None,
        workers: int = 2,
        augment: AugmentConfig = AugmentConfig(min_scale=0.5),  # noqa: B008 (frozen)
        rand_augment: str | None = None,
        seed: int = 0,
        on_error: OnError = "stop",
    ) -> None:
        super().__init__()
        self.path, self.index, self.val_path = path, index, val_path or str(Path(path) / "val")
        self.size, self.batch, self.mode, self.cache = size, batch, mode, cache
        self.workers, self.seed = workers, seed
        self.augment, self.on_error = augment, on_error
        if rand_augment is not None and mode != "stream":
            raise ValueError("data.rand_augment needs data.mode stream: the processes that decode draw it")
        self._transform = None if rand_augment is None else RandAugment(rand_augment, size)
        self.classes: list[str] = []
        self._members: list[Member] = []
        self._target = torch.zeros(0, dtype=torch.int64)
        self._train: Labelled | None = None
        self._val: Labelled | None = None

    def setup(self, stage: str) -> None:
        """List both sets, and decode what is to be in memory."""
        if self._members:
            return
        self._members, labels = self._training_photos()
        self.classes = sorted(set(labels))
        self._target = self._numbers(labels)
        val = folder_members(self.val_path)
        target = self._numbers([label_of(member) for member in val])
        if self.mode == "resident":
            self._train = self._load(self._members, self._target)
            self._val = self._load(val, target)
        else:
            self._val_members, self._val_target = val, target

    def _training_photos(self) -> tuple[list[Member], list[str]]:
        if self.index is None:
            below = Path(self.path) / "train"
            root, val = below if below.is_dir() else Path(self.path), Path(self.val_path).resolve()
            members = folder_members(root)
            if val != root.resolve():  # labels with `val` beside them: the test photos lie there too
                folders = {member.path.parent for member in members}
                tests = {folder for folder in folders if folder.resolve().is_relative_to(val)}
                members = [member for member in members if member.path.parent not in tests]
            if not members:
                raise ValueError(f"{self.path} has no photo to train on but those of {self.val_path}")
            return members, [label_of(member) for member in members]
        labels = read_labels(self.index)
        members = [member for member in tar_members(self.path, self.on_error) if member.key in labels]
        return members, [labels[member.key] for member in members]

    def _numbers(self, labels: Sequence[str]) -> Tensor:
        unknown = sorted(set(labels) - set(self.classes))
        if unknown:
            raise ValueError(
                f"{self.val_path} has folders {', '.join(unknown)} that {self.index or self.path} does not "
                "label"
            )
        number = {label: i for i, label in enumerate(self.classes)}
        return torch.tensor([number[label] for label in labels])

    def _load(self, members: Sequence[Member], target: Tensor) -> Labelled:
        if self.cache is not None:
            return self._decoded(members, target, self.cache)
        check_host_memory(len(members) * 3 * self.size**2)
        with TemporaryDirectory(prefix="onedpiece-") as folder:
            found = self._decoded(members, target, folder)
            return Labelled(found.x.clone(), found.target)

    def _decoded(self, members: Sequence[Member], target: Tensor, folder: str) -> Labelled:
        found = decoded(members, self.size, folder, self.workers, self.on_error)
        x = torch.from_numpy(found.pixels)
        if not found.skipped:
            return Labelled(x, target)
        kept = torch.ones(len(target), dtype=torch.bool)
        kept[list(found.skipped)] = False
        return Labelled(x[kept], target[kept])

    def train_dataloader(self) -> Iterable[Tensor | Labelled]:
        """Return endless batches, from the first that was not drawn yet."""
        place = self._place
        if self._train is not None:
            data = self._train
            return EndlessBatches(data.take, len(data.target), self.batch, self.seed, self.drawn, place)
        batches = StreamedBatches(
            self._members,
            self.size,
            self.batch,
            self.seed,
            self.drawn,
            place,
            self.on_error,
            random_crop=True,
            target=self._target,
            transform=self._transform,
        )
        return StreamedLoader(batches, self.workers)

    def val_dataloader(self) -> Iterable[Labelled]:
        """Return the test pictures once, in order."""
        if self._val is not None:
            return OrderedBatches(self._val.take, torch.arange(len(self._val.target)), self.batch)
        return OrderedBatches(self._decode_rows, torch.arange(len(self._val_target)), self.batch)

    def _decode_rows(self, rows: Tensor) -> Labelled:
        members = [self._val_members[row] for row in rows.tolist()]
        found = decode_batch(members, self.size, self.on_error)
        return Labelled(found.pixels, self._val_target[rows[found.positions]])

    def on_after_batch_transfer(self, batch: Labelled, dataloader_idx: int) -> Labelled:
        """Turn bytes into floats, and augment what is trained on."""
        return Labelled(self.augmented(batch.x, self.augment, self.seed), batch.target)
