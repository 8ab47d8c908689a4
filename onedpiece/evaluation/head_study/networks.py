"""The two networks of the study, fresh, and the loss of a batch of either."""

from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from onedpiece.codec import Codec
from onedpiece.evaluation.head_study.fit import Recipe
from onedpiece.evaluation.head_study.inputs import PixelSet
from onedpiece.heads import ClassLogits, Head, HeadConfig, build_head
from onedpiece.training.codes import CodeDataset
from onedpiece.training.data.augment import random_flip, to_unit
from onedpiece.training.data.order import endless_rows
from onedpiece.training.heads.module import _kernels
from onedpiece.training.heads.objectives import ObjectiveConfig, head_loss
from onedpiece.training.prefixes import PrefixConfig, draw_prefixes
from onedpiece.training.seeds import generator_for

PREFIXES = PrefixConfig(lengths="per_batch", full_weight=0.0)
_MEAN, _STD = 0.45, 0.25  # of photographs' pixels in [0, 1]


def fresh_head(config: HeadConfig, codec: Codec, seed: int) -> Head:
    """Return a head that reads the codec's codes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_head(config, codec.tokenizer)


def fresh_vit(config: HeadConfig, side: int, seed: int) -> nn.Module:
    """Return timm's vision transformer of a head's width, depth and attention heads, on patches of 16 pixels.

    Raises:
        ModuleNotFoundError: timm is not installed; the message names the extra.
    """
    try:
        timm: Any = import_module("timm.models.vision_transformer")
    except ImportError as error:
        raise ModuleNotFoundError("the study needs an extra: pip install 'onedpiece[retokenize]'") from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vit: nn.Module = timm.VisionTransformer(
            img_size=side,
            patch_size=16,
            num_classes=len(config.classes),
            embed_dim=config.width,
            depth=config.layers,
            num_heads=config.heads,
        )
    return vit


def to_network(pixels: Tensor) -> Tensor:
    """Return (B, S, S, 3) bytes as (B, 3, S, S) with about zero mean and unit variance."""
    return (to_unit(pixels.permute(0, 3, 1, 2)) - _MEAN) / _STD


def code_loss(data: CodeDataset, recipe: Recipe) -> Callable[[Head, int], Tensor]:
    """Return the loss of a head on batch number n, at a random prefix length."""
    batches = _rows(len(data), recipe)

    def loss(head: Head, step: int) -> Tensor:
        samples = data.batch(next(batches))
        generator = generator_for("cpu", "prefixes", recipe.seed, step)
        count = samples.indices.shape[1]
        (prefix,) = draw_prefixes(len(samples.indices), count, PREFIXES, generator)
        with _kernels(samples.indices.device, prefix.kept):
            output = head(samples.indices[:, : prefix.kept])
            return head_loss(output, samples.targets, ObjectiveConfig())

    return loss


def pixel_loss(data: PixelSet, recipe: Recipe) -> Callable[[nn.Module, int], Tensor]:
    """Return the loss of a network on pixels on batch number n, each picture mirrored half of the time."""
    batches = _rows(len(data), recipe)

    def loss(network: nn.Module, step: int) -> Tensor:
        samples = data.batch(next(batches))
        x = random_flip(to_network(samples.pixels), generator_for("cpu", "flips", recipe.seed, step))
        return head_loss(ClassLogits(network(x)), samples.targets, ObjectiveConfig())

    return loss


def _rows(count: int, recipe: Recipe) -> Iterator[Tensor]:
    return islice(endless_rows(0, count, recipe.batch, recipe.seed), None)
