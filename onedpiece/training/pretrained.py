"""Pretrained networks of transformers, by name, and the depth that one of them sees."""

from importlib import import_module
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from onedpiece.rate.perceptual import missing_weights


def transformers_pair(name: str, model_class: str) -> tuple[Any, Any]:
    """Return (processor, model) of the hub's model `name`, loaded by transformers' class `model_class`.

    Raises:
        ModuleNotFoundError: transformers is not installed; the message names the extra.
        MissingWeightsError: its weights are neither in the hub's cache nor to be downloaded.
    """
    try:
        transformers: Any = import_module("transformers")
    except ImportError as error:
        raise ModuleNotFoundError(f"{name} needs an extra: pip install 'onedpiece[downstream]'") from error
    try:
        processor = transformers.AutoProcessor.from_pretrained(name)
        model = getattr(transformers, model_class).from_pretrained(name)
    except (OSError, ValueError) as error:
        raise missing_weights(f"{name}", error) from error
    return processor, model.eval()


@torch.no_grad()
def depth_seen(processor: Any, model: Any, image: Image.Image) -> Tensor:
    """Return the depth that a depth estimator of transformers sees at each pixel, (H, W) float32.

    Args:
        processor: its image processor.
        model: the network; its map, of whatever size, is brought to the picture's.
        image: RGB.
    """
    depth = model(**processor(images=image, return_tensors="pt")).predicted_depth[None]
    size = (image.height, image.width)
    return F.interpolate(depth.float(), size, mode="bicubic", align_corners=False)[0, 0]
