"""The state of a prompt on its way through a language model: tokens that know whose they are.

Prompts differ in how many tokens are left, so a batch is padded on the left: the last token of every
prompt then stands at the end, where generation reads it, and whoever drops tokens packs the rest anew.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from onedpiece.retokenize.mustdrop import is_attended

TEXT = -1


class Marks(NamedTuple):
    """What the vision encoder says about the places of P pictures.

    Attributes:
        stays: (P, V) bool, False where a place was merged into another one.
        key: (P, V) bool, the tokens that must never be dropped.
    """

    stays: Tensor
    key: Tensor


class Sequence(NamedTuple):
    """Tokens of B prompts, padded on the left.

    Attributes:
        x: (B, L, C).
        origin: (B, L) int64, the place in the prompt as it was given; -1 is padding.
        picture: (B, L) int64, which picture of the batch a token is of; -1 is text.
        key: (B, L) bool, tokens of a picture that must never be dropped.
    """

    x: Tensor
    origin: Tensor
    picture: Tensor
    key: Tensor

    @property
    def valid(self) -> Tensor:
        """(B, L) bool, False on padding."""
        return self.origin >= 0


def pack(stays: Tensor) -> Tensor:
    """Say which tokens go where: stays (B, L) bool gives (B, K) int64, -1 for padding, which comes first."""
    width = int(stays.sum(dim=1).amax()) if stays.numel() else 0
    # Of a stable sort, so that those that stay follow the others in their order.
    index = stays.long().argsort(dim=1, stable=True)[:, stays.shape[1] - width :]
    return index.masked_fill(~stays.gather(1, index), -1)


def take(values: Tensor, index: Tensor, padding: float = 0) -> Tensor:
    """Gather along the second axis: values (B, L, ...), index (B, K), -1 for padding, give (B, K, ...)."""
    trailing = (1,) * (values.ndim - 2)
    spread = index.clamp_min(0).view(*index.shape, *trailing).expand(*index.shape, *values.shape[2:])
    return values.gather(1, spread).masked_fill((index < 0).view(*index.shape, *trailing), padding)


def select(sequence: Sequence, index: Tensor) -> Sequence:
    """Keep the tokens of `index` (B, K), -1 for padding."""
    return Sequence(
        take(sequence.x, index),
        take(sequence.origin, index, -1),
        take(sequence.picture, index, TEXT),
        take(sequence.key, index),
    )


def number(places: Tensor, num_pictures: int, each: int) -> Tensor:
    """Number the pictures: places (B, L) bool, True at a vision token, give (B, L) int64, -1 at text.

    Pictures of `each` tokens follow each other prompt by prompt.

    Raises:
        ValueError: there are more or fewer places than vision tokens.
    """
    count = int(places.sum())
    if count != num_pictures * each:
        raise ValueError(
            f"the prompts have places for {count} vision tokens; "
            f"{num_pictures} pictures have {num_pictures * each}"
        )
    picture = torch.full(places.shape, TEXT, device=places.device)
    picture[places] = torch.arange(num_pictures, device=places.device).repeat_interleave(each)
    return picture


def drop_unattended(
    sequence: Sequence, attention: Tensor, global_threshold: float, individual_threshold: float
) -> Tensor:
    """Apply the dual attention filter to every picture on its own.

    attention: (B, L, L), averaged over heads, rows look at columns; only rows of text count, and of those
    causality leaves the ones behind a picture. A picture's own attention is the whole that the global
    threshold is a share of. Returns (B, L) bool, False where a token is dropped or padding.

    Reference: arXiv 2411.10803, section 3.3; the authors' code knows one picture a prompt.
    """
    vision = sequence.picture >= 0
    rows = (sequence.valid & ~vision)[..., None]
    seen = attention.float().masked_fill(~rows, 0)
    total, peak = seen.sum(dim=1), seen.amax(dim=1)
    pictures = int(sequence.picture.amax()) + 1 if sequence.picture.numel() else 0
    mass = total.new_zeros(pictures + 1).index_add(
        0, (sequence.picture + 1).flatten(), (total * vision).flatten()
    )
    attended = is_attended(total, peak, mass[sequence.picture + 1], global_threshold, individual_threshold)
    return sequence.valid & (~vision | sequence.key | attended)
