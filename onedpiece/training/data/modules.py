"""Lightning data modules of photographs in a folder or local tars, resident in memory or streamed."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from onedpiece.training.augment import AugmentConfig, augment, to_unit
from onedpiece.training.data.cache import decoded
from onedpiece.training.data.files import Member, OnError, Split, folder_members, split, tar_members
from onedpiece.training.data.sampling import (
    EndlessBatches,
    OrderedBatches,
    Place,
    StreamedBatches,
    StreamedLoader,
    check_least,
    decode_batch,
    generator_for,
)

Mode = Literal["resident", "stream"]
"""`resident` decodes the set once into a uint8 tensor on the device; `stream` decodes as it goes."""


class ResumableData(LightningDataModule):
    """A data module that counts the batches it has drawn, so that a resumed run draws the next one.

    Attributes:
        drawn: training batches so far, over all resumes.
    """

    drawn: int = 0

    @property
    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    @property
    def _place(self) -> Place:
        return Place() if self.trainer is None else Place(self.trainer.global_rank, self.trainer.world_size)

    def augmented(self, x: Tensor, config: AugmentConfig, seed: int) -> Tensor:
        """Turn bytes (B, 3, H, W) into floats in [0, 1]; augment, and count, what is trained on."""
        x = to_unit(x)
        if self.trainer is None or not self.trainer.training:
            return x
        generator = generator_for(x.device, "augment", seed, self._place.rank, self.drawn)
        self.drawn += 1
        return augment(x, config, generator)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs to go on with the next batch."""
        return {"drawn": self.drawn}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.drawn = int(state_dict["drawn"])


class PhotoData(ResumableData, ABC):
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
        on_error: of a picture or shard that cannot be read: `stop`, or `skip`, which names and counts it.
        random_crop: in `stream` mode, cut training squares out of the scaled pictures at random; False: their
            centres.

    Raises:
        ValueError: on construction, a number out of range, or a random crop of what is resident; later, the
            set has no room on disk or device.
        PictureError: a picture cannot be read, and `on_error` is `stop`.
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
        on_error: OnError = "stop",
        random_crop: bool = False,
    ) -> None:
        super().__init__()
        if random_crop and mode == "resident":
            raise ValueError("data.init_args.random_crop needs mode stream: what is resident was cut already")
        check_least(1, size=size, batch=batch)
        check_least(0, workers=workers)
        if not 0 <= val_share < 1:
            raise ValueError(f"data.init_args.val_share is {val_share}; give 0 or more, below 1")
        self.path, self.size, self.batch, self.mode, self.cache = path, size, batch, mode, cache
        self.workers, self.val_share, self.val_limit, self.seed = workers, val_share, val_limit, seed
        self.augment, self.on_error, self.random_crop = augment, on_error, random_crop
        self._members: list[Member] = []
        self._split = Split([], [])
        self._pixels: Tensor | None = None

    @abstractmethod
    def members(self) -> list[Member]:
        """List all pictures, held-out ones included."""

    def prepare_data(self) -> None:
        """Decode the set into the cache; only the first process of a machine does."""
        if self.mode == "resident" and self.cache is not None:
            decoded(self.members(), self.size, self.cache, self.workers, self.on_error)

    def setup(self, stage: str) -> None:
        """List and split the pictures, and bring them to the device in `resident` mode."""
        if self._members:
            return
        self._members = self.members()
        self._split = split(self._members, self.val_share)
        if self.mode == "resident":
            self._pixels = self._load()

    def _load(self) -> Tensor:
        check_memory(len(self._members) * 3 * self.size**2, self._device)
        if self.cache is not None:
            return self._decoded(self.cache).to(self._device)
        check_host_memory(len(self._members) * 3 * self.size**2)
        with TemporaryDirectory(prefix="onedpiece-") as folder:
            return self._decoded(folder).clone().to(self._device)

    def _decoded(self, folder: str) -> Tensor:
        found = decoded(self._members, self.size, folder, self.workers, self.on_error)
        skipped = set(found.skipped)
        kept = [row for row in range(len(self._members)) if row not in skipped]
        parts = split([self._members[row] for row in kept], self.val_share)
        self._split = Split(*([kept[at] for at in rows] for rows in parts))
        return torch.from_numpy(found.pixels)

    def train_dataloader(self) -> Iterable[Tensor]:
        """Return endless batches, from the first that was not drawn yet."""
        rows, pixels = self._split.train, self._pixels
        if pixels is not None:
            chosen = torch.tensor(rows, dtype=torch.int64)
            return EndlessBatches(
                lambda at: pixels[chosen[at].to(pixels.device)],
                len(rows),
                self.batch,
                self.seed,
                self.drawn,
                self._place,
            )
        members = [self._members[row] for row in rows]
        batches = StreamedBatches(
            members,
            self.size,
            self.batch,
            self.seed,
            self.drawn,
            self._place,
            self.on_error,
            self.random_crop,
        )
        return StreamedLoader(batches, self.workers)

    def val_dataloader(self) -> Iterable[Tensor]:
        """Return the pictures to validate on, this process's share of them, once."""
        rows = (self._split.held_out or self._split.train)[: self.val_limit]
        rows = rows[self._place.rank :: self._place.world]
        if self._pixels is not None or not rows:
            return self._in_order(rows)
        pixels = self._decode_rows(torch.tensor(rows))
        return OrderedBatches(lambda at: pixels[at], torch.arange(len(pixels)), self.batch)

    def statistics_batches(self, limit: int = 2048) -> Iterable[Tensor]:
        """Yield up to `limit` training pictures as (B, 3, size, size) in [0, 1], on the CPU.

        The same ones in every process: what is fitted to them must not differ.
        """
        for pixels in self._in_order(self._split.train[:limit]):
            yield to_unit(pixels.cpu())

    def _in_order(self, rows: Sequence[int]) -> OrderedBatches[Tensor]:
        pixels = self._pixels
        chosen = torch.tensor(rows, dtype=torch.int64)
        if pixels is not None:
            return OrderedBatches(lambda at: pixels[at.to(pixels.device)], chosen, self.batch)
        return OrderedBatches(self._decode_rows, chosen, self.batch)

    def _decode_rows(self, rows: Tensor) -> Tensor:
        return decode_batch([self._members[row] for row in rows.tolist()], self.size, self.on_error).pixels

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        """Turn bytes into floats, and augment what is trained on."""
        return self.augmented(batch, self.augment, self.seed)


def check_memory(size: int, device: torch.device) -> None:
    """Raise ValueError unless `size` bytes of pictures fit an accelerator's free memory.

    On a CPU the set stays mapped from its cache, which needs no memory of its own.
    """
    if device.type != "cuda":
        return
    free, _ = torch.cuda.mem_get_info(device)
    if size > free:
        raise ValueError(
            f"the decoded set takes {size / 1e9:.1f} GB and {device} has {free / 1e9:.1f} GB free; set "
            "data.init_args.mode to stream"
        )


def check_host_memory(size: int) -> None:
    """Raise ValueError unless `size` bytes of pictures fit what memory is free, where the system says it."""
    names = ("SC_AVPHYS_PAGES", "SC_PAGE_SIZE")
    if not set(names) <= set(getattr(os, "sysconf_names", ())):
        return
    pages, page = map(os.sysconf, names)
    if size > pages * page:
        raise ValueError(
            f"the decoded set takes {size / 1e9:.1f} GB and {pages * page / 1e9:.1f} GB of memory are free; "
            "set data.init_args.mode to stream, or cache to a folder"
        )


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
        return tar_members(self.path, self.on_error)
