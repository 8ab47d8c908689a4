"""A cache's photos as tensors, and the data module of heads, which makes the cache where there is none."""

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from onedpiece._progress import progress_bar
from onedpiece.codec.codec import Codec
from onedpiece.errors import CacheError, WrongModelError
from onedpiece.heads import Task, code_space_of
from onedpiece.training.codes.base import (
    TEST,
    TRAIN,
    VAL,
    BoxTarget,
    CodeSample,
    CodeSamples,
    Source,
    stack_targets,
)
from onedpiece.training.codes.build import build_cache
from onedpiece.training.codes.cache_file import read_metadata, read_rows, unpack_target
from onedpiece.training.codes.layout import OwnPhotos
from onedpiece.training.codes.own import default_cache, is_tokens, own_photos, task_of
from onedpiece.training.codes.shards import is_bulk, read_shards
from onedpiece.training.data.modules import ResumableData
from onedpiece.training.data.sampling import EndlessBatches, OrderedBatches, check_least
from onedpiece.weights import load

log = logging.getLogger(__name__)


class CodeDataset(Dataset[CodeSample]):
    """The photos of one split, each view of each a sample; all in memory.

    Args:
        path: a cache that `build` wrote; or a folder of `onedpiece bulk`, or one shard of it, whose rows with
            tokens are classified (see `read_shards`).
        split: "train", "val" or "test".
        code_space: whose codes they must be (see `onedpiece.heads.code_space_of`); None: any.
        variants: which views of a cache to take; None: all that there are.
        labels: of a bulk run, the TSV file of classes; None: they are the photos' folders.

    Attributes:
        metadata: task, classes, code space and more of the cache.
        keys: the photo's name of every row.
        indices: (R, N) int32.
        lengths: (R,) int64, tokens a row; None: all have N.
        targets: (R, ...) where they are tensors, else a list of boxes.

    Raises:
        WrongModelError: the tokens are of another code space.
        CacheError: the file is no cache, or has no such row.
        OSError: it cannot be opened.
        MissingExtraError: pyarrow is not installed; the message names the extra.
    """

    def __init__(
        self,
        path: str | Path,
        split: str = "train",
        code_space: bytes | None = None,
        variants: Sequence[str] | None = None,
        labels: str | Path | None = None,
    ) -> None:
        path = Path(path)
        self.lengths: Tensor | None = None
        if is_bulk(path):
            self._take_shards(path, split, code_space, labels)
        else:
            self._take_cache(path, split, code_space, variants)

    def _take_shards(
        self, path: Path, split: str, code_space: bytes | None, labels: str | Path | None
    ) -> None:
        self.metadata, rows = read_shards(path, split, None if labels is None else Path(labels))
        self._check_space(path, code_space)
        if not rows.keys:
            raise CacheError(f"{path} has no row of split {split!r}")
        self.keys, self.indices, self.lengths = rows.keys, rows.codes, rows.lengths
        self.targets: Tensor | list[BoxTarget] = rows.targets

    def _take_cache(
        self, path: Path, split: str, code_space: bytes | None, variants: Sequence[str] | None
    ) -> None:
        self.metadata = read_metadata(path)
        self._check_space(path, code_space)
        rows = read_rows(path, split, variants)
        if not rows.keys:
            raise CacheError(f"{path} has no row of split {split!r} and variants {variants or 'any'}")
        if absent := [variant for variant in variants or () if variant not in rows.variants]:
            found = ", ".join(dict.fromkeys(rows.variants))
            log.warning("%s has no view %s, only %s: data.variants is cut", path, ", ".join(absent), found)
        self.keys = rows.keys
        self.indices = torch.from_numpy(rows.codes.astype("int32"))
        self.targets = stack_targets(
            [unpack_target(data, self.metadata.task, self.metadata.image_size) for data in rows.targets]
        )

    def _check_space(self, path: Path, code_space: bytes | None) -> None:
        if code_space is not None and self.metadata.code_space != code_space.hex():
            raise WrongModelError(
                f"{path} holds codes of code space {self.metadata.code_space}, the model's is "
                f"{code_space.hex()}; tokenize the photos anew"
            )

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, row: int) -> CodeSample:
        there = None if self.lengths is None else int(self.lengths[row])
        return CodeSample(self.indices[row, :there].long(), self.targets[row])

    def batch(self, rows: Tensor) -> CodeSamples:
        """Return the samples of some rows, (B,) int64, together."""
        if isinstance(self.targets, Tensor):
            lengths = None if self.lengths is None else self.lengths[rows]
            return CodeSamples(self.indices[rows].long(), self.targets[rows], lengths)
        return CodeSamples(self.indices[rows].long(), [self.targets[row] for row in rows.tolist()])


class CodeData(ResumableData):
    """Tokenized photos with their targets; batch after batch follows from the seed and the batch's number.

    Args:
        cache: the Parquet file; made from `source` where it is not there. Or what `onedpiece bulk` wrote.
            None: a file below `runs/codes`, another one for other photos, labels, views or models.
        source: labelled photos.
        model: whose tokens these are, as `onedpiece.load` takes it; None: the bundled one.
        variants: views of training photos to make and to train on (see `view_named`).
        batch: photos a batch and process.
        split: what to validate on; where a folder of your own has no such split, the other one that it has.
        seed: of the order.
        device: where photos are tokenized, as torch names it.
        labels: of a bulk run, a TSV file of classes by key; None: they are the photos' folders.
        path: a folder of your own in place of `source`: of a folder per class, a YOLO or COCO data set, or
            photos and masks (see `own_photos`). Or what `onedpiece bulk` wrote.

    Raises:
        ValueError: nothing says where the photos are, or two things do; or `path` holds none of these.
        FileNotFoundError: there is nothing at `path`.
    """

    def __init__(
        self,
        cache: str | None = None,
        source: Source | None = None,
        model: str | None = None,
        variants: tuple[str, ...] = ("plain", "flip"),
        batch: int = 64,
        split: str = TEST,
        seed: int = 0,
        device: str = "cpu",
        labels: str | None = None,
        path: str | None = None,
    ) -> None:
        super().__init__()
        check_least(1, batch=batch)
        if path is not None and is_tokens(path):
            cache, path = cache or path, None
        if path is not None:
            if source is not None:
                raise ValueError("data.path and data.source both name photos; leave one out")
            source = own_photos(path)
        elif cache is None:
            raise ValueError("nothing says where the photos are; set data.path to a folder, or data.cache")
        self.labels = labels
        self.given, self.source, self.model, self.variants = cache, source, model, variants
        self.batch, self.split, self.seed, self.device = batch, split, seed, device

    @cached_property
    def cache(self) -> str:
        """The Parquet file of the tokens."""
        if self.given is not None:
            return self.given
        assert isinstance(self.source, OwnPhotos)
        return str(default_cache(self.source, code_space_of(self.codec), self.variants))

    @property
    def task(self) -> Task | None:
        """What the photos are labelled for, without reading any; None: there are none."""
        if self.source is not None:
            return self.source.task
        return task_of(self.cache) if Path(self.cache).exists() else None

    @property
    def names(self) -> str:
        """What a message calls the photos."""
        return str(self.cache) if self.source is None else self.source.name

    @cached_property
    def codec(self) -> Codec:
        """The model whose tokens these are."""
        return load(self.model, self.device)

    @cached_property
    def train(self) -> CodeDataset:
        """What is trained on; the cache must be there."""
        return CodeDataset(self.cache, TRAIN, code_space_of(self.codec), self.variants, self.labels)

    @cached_property
    def test(self) -> CodeDataset:
        """What is validated on; the cache must be there."""
        split = self.split
        if isinstance(self.source, OwnPhotos) and split not in self.source.splits:
            split = next(name for name in (VAL, TEST) if name in self.source.splits)
        return CodeDataset(self.cache, split, code_space_of(self.codec), labels=self.labels)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by number."""
        return self.test.metadata.classes

    def prepare_data(self) -> None:
        """Tokenize the photos, unless that was done.

        Raises:
            ValueError: there is neither a cache nor a source; or the photos, or the cache that is there, are
                not as they must be.
        """
        there, own = Path(self.cache).exists(), isinstance(self.source, OwnPhotos)
        if own:
            log.info("%s: tokens are %s %s", self.names, "in" if there else "put into", self.cache)
        if there and (self.given is None or not own):
            self._check_source()
            return  # the name of what is not given says of which photos it is
        if self.source is None:
            raise ValueError(
                f"there is no {self.cache}; set data.path or data.source to tokenize photos, or data.cache"
            )
        with progress_bar("Tokenizing") as progress:
            build_cache(self.cache, self.source, self.codec, self.variants, progress)

    def _check_source(self) -> None:
        """Refuse a named cache of other photos; the source's may be gone, and are not listed."""
        if self.source is None or is_bulk(Path(self.cache)):
            return
        found = read_metadata(Path(self.cache)).source
        if found != self.source.name:
            raise CacheError(
                f"{self.cache} holds photos of {found}, and data.source is {self.source.name}; name another"
            )

    def setup(self, stage: str) -> None:
        """Read the cache, so that what is wrong with it is said before anything starts."""
        _ = self.train, self.test

    def train_dataloader(self) -> Iterable[CodeSamples]:
        """Return endless batches, from the first that was not drawn yet."""
        data = self.train
        return EndlessBatches(data.batch, len(data), self.batch, self.seed, self.drawn, self._place)

    def val_dataloader(self) -> Iterable[CodeSamples]:
        """Return what is validated on, this process's share of it, once."""
        rows = torch.arange(self._place.rank, len(self.test), self._place.world)
        return OrderedBatches(self.test.batch, rows, self.batch)

    def on_after_batch_transfer(self, batch: CodeSamples, dataloader_idx: int) -> CodeSamples:
        """Count what was trained on."""
        if self.trainer is not None and self.trainer.training:
            self.drawn += 1
        return batch
