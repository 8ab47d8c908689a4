"""Pretrained networks of torchvision and transformers by name; one clear line where they cannot be had."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.errors import MissingExtraError
from onedpiece.metrics.perceptual import fetching, missing_weights
from onedpiece.weights.hub import without_retries

Preprocess = Callable[[Any], Tensor]
"""A PIL image to the (3, H, W) tensor that the network takes."""


def transformers_pair(name: str, model_class: str) -> tuple[Any, Any]:
    """Return (processor, model) of the hub's model `name`, loaded by transformers' class `model_class`.

    Raises:
        MissingExtraError: transformers is not installed; the message names the extra.
        MissingWeightsError: its weights are neither in the hub's cache nor to be downloaded.
    """
    try:
        transformers: Any = import_module("transformers")
    except ImportError as error:
        raise MissingExtraError(f"{name} needs an extra: pip install 'onedpiece[downstream]'") from error
    try:
        with without_retries():
            processor = transformers.AutoImageProcessor.from_pretrained(name)
            model = getattr(transformers, model_class).from_pretrained(name)
    except (OSError, ValueError) as error:
        raise missing_weights(name, error) from error
    return processor, model.eval()


@torch.no_grad()
def depth_seen(processor: Any, model: Any, image: Image.Image) -> Tensor:
    """Return the depth that a depth estimator of transformers sees at each pixel, (H, W) float32.

    Args:
        processor: its image processor.
        model: the network; its map, of whatever size, is brought to the picture's.
        image: RGB.
    """
    pixels = processor(images=image, return_tensors="pt")["pixel_values"].to(model.device)
    depth = model(pixel_values=pixels).predicted_depth[None]
    size = (image.height, image.width)
    return F.interpolate(depth.float(), size, mode="bicubic", align_corners=False)[0, 0]


class Pretrained(NamedTuple):
    """A torchvision network in evaluation mode.

    Attributes:
        network: takes batches of what `preprocess` gives.
        preprocess: from a PIL image.
        categories: names of its classes.
    """

    network: nn.Module
    preprocess: Preprocess
    categories: list[str]


def torchvision_network(name: str) -> Pretrained:
    """Return the network that torchvision calls `name`, with its default weights.

    Raises:
        ValueError: torchvision knows no such network.
        MissingWeightsError: its weights are neither on the machine nor to be downloaded.
    """
    from torchvision import models

    try:
        weights = models.get_model_weights(name)["DEFAULT"]
    except (ValueError, KeyError):
        raise ValueError(f"torchvision has no pretrained network {name!r}") from None
    with fetching(f"torchvision's {name}"):
        network = models.get_model(name, weights=weights)
    categories = list(weights.meta["categories"])
    return Pretrained(network.eval().requires_grad_(False), weights.transforms(), categories)
