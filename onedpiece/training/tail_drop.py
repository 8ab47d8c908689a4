"""Which prefixes of the code a training step decodes."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from onedpiece.tokenizer.tail_drop import KeepLaw, sample_lengths


@dataclass(frozen=True)
class TailDropConfig:
    """How a step divides its work between random prefixes and the whole code.

    Attributes:
        distribution: of the prefix's length: short codes often enough, long ones too.
        lengths: one a picture, or one a batch, which truncates truly: cheaper on a CPU.
        prefix_weight: weight of the loss on the random prefix.
        full_weight: weight of the loss on the whole code: without it late tokens idle.
        full_probability: share of the steps that decode the whole code.
        both: False: a step that decodes the whole code decodes no prefix beside it.

    Raises:
        ValueError: on construction, weights or probability out of range.
    """

    distribution: KeepLaw = "mixture"
    lengths: Literal["per_sample", "per_batch"] = "per_sample"
    prefix_weight: float = 1.0
    full_weight: float = 1.0
    full_probability: float = 1.0
    both: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.full_probability <= 1:
            raise ValueError(f"tail_drop.full_probability is {self.full_probability}; use a share in [0, 1]")
        if self.prefix_weight < 0 or self.full_weight < 0 or self.prefix_weight + self.full_weight == 0:
            raise ValueError("tail_drop.prefix_weight and full_weight must not be negative, nor both 0")


class Prefix(NamedTuple):
    """One decoding of a batch.

    Attributes:
        weight: of its loss.
        kept: how many codes the decoder gets, k.
        lengths: (B,) in 1…k when samples keep different counts; None: all keep k.
    """

    weight: float
    kept: int
    lengths: Tensor | None


def draw_prefixes(
    batch: int, num_tokens: int, config: TailDropConfig, generator: torch.Generator
) -> list[Prefix]:
    """Draw what one step decodes: a random prefix, the whole code, or both.

    Args:
        batch: samples in the step.
        num_tokens: N, the whole code.
        config: weights and distribution.
        generator: on the CPU.
    """
    full = Prefix(config.full_weight, num_tokens, None)
    chance = float(torch.rand((), generator=generator))
    takes_full = config.full_weight > 0 and (chance < config.full_probability or config.prefix_weight == 0)
    if config.prefix_weight == 0 or (takes_full and not config.both):
        return [full]
    prefix = _random_prefix(batch, num_tokens, config, generator)
    return [prefix, full] if takes_full else [prefix]


def _random_prefix(batch: int, num_tokens: int, config: TailDropConfig, generator: torch.Generator) -> Prefix:
    if config.lengths == "per_batch":
        kept = int(sample_lengths(1, num_tokens, config.distribution, generator))
        return Prefix(config.prefix_weight, kept, None)
    # The whole sequence with a mask, not the longest prefix: one static shape for the compiler.
    return Prefix(
        config.prefix_weight, num_tokens, sample_lengths(batch, num_tokens, config.distribution, generator)
    )
