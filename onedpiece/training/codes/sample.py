"""What a dataset of codes gives: the tokens of one photo, and what a head is to say of it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class BoxTarget(NamedTuple):
    """The objects of one photo.

    Attributes:
        boxes: (n, 4) float32, left, top, right and bottom as shares of the photo, in [0, 1].
        labels: (n,) int64, the class of each.
    """

    boxes: Tensor
    labels: Tensor


Target = Tensor | BoxTarget
"""Of classify () int64, of segment (H, W) uint8, of depth (H, W) float32, of detect the boxes."""


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
    """

    indices: Tensor
    targets: Tensor | list[BoxTarget]


def collate(samples: Sequence[CodeSample]) -> CodeSamples:
    """Return samples of one length and one task together."""
    indices = torch.stack([sample.indices for sample in samples])
    boxes = [sample.target for sample in samples if isinstance(sample.target, BoxTarget)]
    if boxes:
        return CodeSamples(indices, boxes)
    return CodeSamples(
        indices, torch.stack([sample.target for sample in samples if isinstance(sample.target, Tensor)])
    )


def crop_prefix(samples: CodeSamples, tokens: int) -> CodeSamples:
    """Keep each photo's first `tokens` tokens: a coarser picture of the same photo, with the same target.

    Raises:
        ValueError: there are not so many.
    """
    available = samples.indices.shape[1]
    if not 1 <= tokens <= available:
        raise ValueError(f"tokens is {tokens}; these codes have 1 to {available}")
    return samples._replace(indices=samples.indices[:, :tokens])
