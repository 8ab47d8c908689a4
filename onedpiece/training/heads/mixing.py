"""Mixup on code vectors (arXiv 1710.09412): two photos and their classes, blended."""

from typing import NamedTuple

import torch
from torch import Tensor

from onedpiece.heads import Head
from onedpiece.training.codes import CodeSamples
from onedpiece.training.heads.objectives import ObjectiveConfig, head_loss


class Mix(NamedTuple):
    """How a batch is blended with itself.

    Attributes:
        weight: of each sample, in [0, 1); the rest is its partner's.
        partner: (B,) int64, a permutation.
    """

    weight: float
    partner: Tensor


def draw_mix(batch: int, probability: float, generator: torch.Generator) -> Mix | None:
    """Draw a blend with uniform weight, or with probability 1 − `probability` none."""
    chance, weight = torch.rand(2, generator=generator).tolist()
    partner = torch.randperm(batch, generator=generator)
    return Mix(weight, partner) if chance < probability else None


def mixed_loss(head: Head, samples: CodeSamples, mix: Mix, config: ObjectiveConfig) -> Tensor:
    """Return the loss of a classifier on blended photos.

    With a linear path a code vector is about linear in the picture: blending vectors blends pictures.

    Args:
        head: a classifier.
        samples: codes of one length.
        mix: the blend.
        config: of the loss.
    """
    assert isinstance(samples.targets, Tensor)
    codes = head.backbone.codebook(samples.indices)
    output = head.read(torch.lerp(codes[mix.partner], codes, mix.weight))
    own = head_loss(output, samples.targets, config)
    others = head_loss(output, samples.targets[mix.partner], config)
    return mix.weight * own + (1 - mix.weight) * others
