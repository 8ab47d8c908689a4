"""Lightning data modules: a folder of pictures or WebDataset tars, resident in memory or streamed."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from onedpiece.training.data.augment import AugmentConfig, augment, to_unit
from onedpiece.training.data.cache import decoded
from onedpiece.training.data.loaders import (
    FixedBatches,
    ResidentBatches,
    StreamedBatches,
    decode_batch,
    streamed_loader,
)
from onedpiece.training.data.members import Member, folder_members, tar_members
from onedpiece.training.data.order import Place
from onedpiece.training.data.split import Split, split
from onedpiece.training.seeds import generator_for

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
