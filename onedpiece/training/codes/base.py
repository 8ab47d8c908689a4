"""What a source of labelled photos is, and what a dataset of codes gives.

Keys, splits and a way to load each photo; the tokens of one, and what a head is to say of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from onedpiece.heads import Task

TRAIN, VAL, TEST = "train", "val", "test"
"""The splits; only the first is ever trained on."""


class BoxTarget(NamedTuple):
    """The objects of one photo.

    Attributes:
        boxes: (n, 4) float32, left, top, right and bottom as shares of the photo, in [0, 1].
        labels: (n,) int64, the class of each.
    """

    boxes: Tensor
    labels: Tensor


Target = Tensor | BoxTarget
"""Of classify () int64 or the probabilities of the classes (C,), of segment (H, W) uint8, of depth (H, W)
float32, of detect the boxes."""


class CodeSample(NamedTuple):
    """One photo.

    Attributes:
        indices: (N,) int64, its tokens in order.
        target: what a head is to say of it.
    """

    indices: Tensor
    target: Target


class CodeSamples(NamedTuple):
    """Several photos, as a head is trained on them.

    Attributes:
        indices: (B, N) int64.
        targets: (B, ...) where they are tensors of one shape, else a list of boxes.
        lengths: (B,) int64 in 1 to N, how many tokens each has; None: all have N.
    """

    indices: Tensor
    targets: Tensor | list[BoxTarget]
    lengths: Tensor | None = None


def collate(samples: Sequence[CodeSample]) -> CodeSamples:
    """Return samples of one length and one task together."""
    indices = torch.stack([sample.indices for sample in samples])
    return CodeSamples(indices, stack_targets([sample.target for sample in samples]))


def stack_targets(targets: Sequence[Target]) -> Tensor | list[BoxTarget]:
    """Return targets of one task as a tensor (R, ...), or those of detection as a list."""
    boxes = [target for target in targets if isinstance(target, BoxTarget)]
    return boxes or torch.stack([target for target in targets if isinstance(target, Tensor)])


def crop_prefix(samples: CodeSamples, tokens: int) -> CodeSamples:
    """Keep each photo's first `tokens` tokens: a coarser picture of the same photo, with the same target.

    Raises:
        ValueError: there are not so many.
    """
    available = samples.indices.shape[1]
    if not 1 <= tokens <= available:
        raise ValueError(f"tokens is {tokens}; these codes have 1 to {available}")
    lengths = None if samples.lengths is None else samples.lengths.clamp_max(tokens)
    return samples._replace(indices=samples.indices[:, :tokens], lengths=lengths)


class Labelled(NamedTuple):
    """A photo and what a head is to say of it.

    Attributes:
        image: RGB, any size.
        target: maps have the photo's size, boxes are shares of it; or a function that looks at a view.
    """

    image: Image.Image
    target: Target | Callable[[Image.Image], Target]


class Example(NamedTuple):
    """A photo that can be loaded.

    Attributes:
        key: its name, unlike that of any other in its source.
        split: see TRAIN.
        load: reads it.
    """

    key: str
    split: str
    load: Callable[[], Labelled]


class Source(ABC):
    """Labelled photos, listed before any is read."""

    task: Task

    @property
    @abstractmethod
    def name(self) -> str:
        """What a cache of it says it holds."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers; none for depth."""

    @property
    def stamp(self) -> str:
        """What a cache depends on beside names, classes and keys; empty where those say it all."""
        return ""

    @abstractmethod
    def examples(self) -> list[Example]:
        """List all photos of all splits, always in the same order.

        Raises:
            OSError, ValueError: the files are not there, or not as expected.
        """
