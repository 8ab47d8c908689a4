"""Pretrained networks by name, from torchvision; one clear line where they cannot be had."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from onedpiece.rate.perceptual import missing_weights

Preprocess = Callable[[Any], Tensor]
"""A PIL image to the (3, H, W) tensor that the network takes."""


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
    try:
        network = models.get_model(name, weights=weights)
    except (OSError, RuntimeError) as error:
        raise missing_weights(f"torchvision's {name}", error) from error
    categories = list(weights.meta["categories"])
    return Pretrained(network.eval().requires_grad_(False), weights.transforms(), categories)


@torch.no_grad()
def run_one(pretrained: Pretrained, image: Any) -> Tensor:
    """Return what a network gives for one picture, without its batch axis."""
    result: Tensor = pretrained.network(pretrained.preprocess(image)[None])
    return result[0]
