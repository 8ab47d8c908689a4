"""The networks of the study, fresh, and the loss of those that read pixels."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from onedpiece.codec import Codec
from onedpiece.heads import ClassLogits, Head, HeadConfig, build_head
from onedpiece.training.augment import draw_views, random_flip, to_unit
from onedpiece.training.data.sampling import endless_rows, generator_for
from onedpiece.training.head_module import attention_kernels
from onedpiece.training.losses.heads import ObjectiveConfig, head_loss
from tools.head_study.inputs import PixelSet
from tools.head_study.settings import Settings

PATCH = 16
_MEAN, _STD = 0.45, 0.25  # of photographs' pixels in [0, 1], as heads have it


def fresh_head(config: HeadConfig, codec: Codec, seed: int) -> Head:
    """Return a head that reads the codec's codes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_head(config, codec.tokenizer)


def fresh_vit(config: HeadConfig, side: int, seed: int) -> nn.Module:
    """Return timm's vision transformer of a head's width, depth and attention heads, on patches of pixels.

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
            patch_size=PATCH,
            num_classes=len(config.classes),
            embed_dim=config.width,
            depth=config.layers,
            num_heads=config.heads,
        )
    return vit


def to_network(pixels: Tensor) -> Tensor:
    """Return (B, S, S, 3) bytes as (B, 3, S, S) with about zero mean and unit variance."""
    return (to_unit(pixels.permute(0, 3, 1, 2)) - _MEAN) / _STD


def pixel_loss(data: PixelSet, settings: Settings, seed: int) -> Callable[[nn.Module, int], Tensor]:
    """Return the loss of a network on batch number n, each picture mirrored half of the time."""
    batches = endless_rows(0, len(data), settings.batch, seed)

    def loss(network: nn.Module, step: int) -> Tensor:
        samples = data.batch(next(batches))
        generator = generator_for("cpu", "views", seed, step)
        x = random_flip(to_network(samples.pixels), generator)
        if settings.views.alters:
            x = draw_views(len(x), settings.views, generator).picture(x)
        with attention_kernels(x.device, (x.shape[-1] // PATCH) ** 2):
            return head_loss(ClassLogits(network(x)), samples.targets, ObjectiveConfig())

    return loss
