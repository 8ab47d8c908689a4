"""`CodeDataset`: a cache's photos as tensors."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from onedpiece.codec import WrongModelError
from onedpiece.training.codes.packing import unpack_target
from onedpiece.training.codes.sample import BoxTarget, CodeSample, CodeSamples, Target
from onedpiece.training.codes.table import CacheError, read_facts, read_table


class CodeDataset(Dataset[CodeSample]):
    """The photos of one split, each view of each a sample; all in memory.

    Args:
        path: a cache that `build` wrote.
        split: "train", "val" or "test".
        fingerprint: of the model whose tokens they must be; None: any model's.
        variants: which views to take; None: all that there are.

    Attributes:
        facts: what the cache says of itself: task, classes, fingerprint and more.
        keys: the photo's name of every row.
        indices: (R, N) int32.
        targets: (R, ...) where they are tensors, else a list of boxes.

    Raises:
        WrongModelError: another model made the tokens.
        CacheError: the file is no cache, or has no such row.
        OSError: it cannot be opened.
        ModuleNotFoundError: pyarrow is not installed; the message names the extra.
    """

    def __init__(
        self,
        path: str | Path,
        split: str = "train",
        fingerprint: bytes | None = None,
        variants: Sequence[str] | None = None,
    ) -> None:
        path = Path(path)
        self.facts = read_facts(path)
        if fingerprint is not None and self.facts.fingerprint != fingerprint.hex():
            raise WrongModelError(
                f"{path} was made by model {self.facts.fingerprint}, this is {fingerprint.hex()}; "
                "tokenize the photos anew, or restamp the file if only the decoder was trained on"
            )
        rows = read_table(path, split, variants)
        if not rows.keys:
            raise CacheError(f"{path} has no row of split {split!r} and variants {variants or 'any'}")
        self.keys = rows.keys
        self.indices = torch.from_numpy(rows.codes.astype("int32"))
        self.targets = _together(
            [unpack_target(data, self.facts.task, self.facts.side) for data in rows.targets]
        )

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, row: int) -> CodeSample:
        return CodeSample(self.indices[row].long(), self.targets[row])

    def batch(self, rows: Tensor) -> CodeSamples:
        """Return the samples of some rows, (B,) int64, together."""
        if isinstance(self.targets, Tensor):
            return CodeSamples(self.indices[rows].long(), self.targets[rows])
        return CodeSamples(self.indices[rows].long(), [self.targets[row] for row in rows.tolist()])


def _together(targets: Sequence[Target]) -> Tensor | list[BoxTarget]:
    boxes = [target for target in targets if isinstance(target, BoxTarget)]
    return boxes or torch.stack([target for target in targets if isinstance(target, Tensor)])
