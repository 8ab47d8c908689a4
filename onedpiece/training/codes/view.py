"""Flips and crops of a photo before it is tokenized, and of its target along with it."""

from hashlib import sha256
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from onedpiece.training.codes.base import BoxTarget, Target

MIN_CROP_AREA = 0.35  # of a crop, as a share of the photo: less leaves parts of objects, at tens of tokens
_MIN_VISIBLE = 0.4  # share of a box that must lie in the crop for the object to count

Box = tuple[float, float, float, float]


class View(NamedTuple):
    """A crop of a photo, and whether it is mirrored.

    Attributes:
        box: left, top, right and bottom as shares of the photo.
        flip: mirrored left to right, after the crop.
    """

    box: Box = (0.0, 0.0, 1.0, 1.0)
    flip: bool = False


PLAIN = View()


def view_named(variant: str, key: str) -> View:
    """Return the view that a photo has under a variant's name, the same one every time.

    Args:
        variant: "plain", "flip", or "crop1", "crop2", … for random crops that half the time are mirrored.
        key: the photo's; others get other crops.

    Raises:
        ValueError: there is no such variant.
    """
    if variant in ("plain", "flip"):
        return View(flip=variant == "flip")
    if not (variant.startswith("crop") and variant[4:].isdigit()):
        raise ValueError(f"variants has {variant!r}; use plain, flip, crop1, crop2, …")
    seed = int.from_bytes(sha256(f"{variant}|{key}".encode()).digest()[:8], "big")
    return _random_view(np.random.default_rng(seed))


def _random_view(generator: np.random.Generator) -> View:
    area, skew = generator.uniform(MIN_CROP_AREA, 1), np.exp(generator.uniform(-0.2, 0.2))
    width, height = min(1.0, float(np.sqrt(area) * skew)), min(1.0, float(np.sqrt(area) / skew))
    left, top = float(generator.uniform(0, 1 - width)), float(generator.uniform(0, 1 - height))
    return View((left, top, left + width, top + height), bool(generator.random() < 0.5))


def apply_view(image: Image.Image, view: View) -> Image.Image:
    """Crop and mirror a picture, at its own resolution."""
    viewed = image if view.box == PLAIN.box else image.crop(_pixels(view.box, image.width, image.height))
    return ImageOps.mirror(viewed) if view.flip else viewed


def apply_view_to_target(target: Target, view: View, image_size: int) -> Target:
    """Return the target of a view that is resized to a square of `image_size` pixels.

    Args:
        target: of the whole photo; masks and depths at any size.
        view: the view.
        image_size: side of the model's pictures.
    """
    if isinstance(target, BoxTarget):
        return _view_boxes(target, view)
    return target if target.ndim == 0 else _view_map(target, view, image_size)


def _pixels(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    left, top = int(box[0] * width), int(box[1] * height)
    return left, top, max(left + 1, round(box[2] * width)), max(top + 1, round(box[3] * height))


def _view_map(target: Tensor, view: View, image_size: int) -> Tensor:
    left, top, right, bottom = _pixels(view.box, target.shape[1], target.shape[0])
    part = target[None, None, top:bottom, left:right]
    if target.dtype == torch.uint8:
        resized = F.interpolate(part, (image_size, image_size), mode="nearest-exact")
    else:
        resized = F.interpolate(part, (image_size, image_size), mode="bilinear", antialias=True)
    return (resized.flip(3) if view.flip else resized)[0, 0].contiguous()


def _view_boxes(target: BoxTarget, view: View) -> BoxTarget:
    left, top, right, bottom = view.box
    origin, extent = torch.tensor([left, top] * 2), torch.tensor([right - left, bottom - top] * 2)
    whole = (target.boxes - origin) / extent
    boxes = whole.clamp(0, 1)
    kept = _areas(boxes) >= _MIN_VISIBLE * _areas(whole)
    boxes = boxes[kept]
    if view.flip:
        boxes = boxes[:, [2, 1, 0, 3]] * torch.tensor([-1.0, 1, -1, 1]) + torch.tensor([1.0, 0, 1, 0])
    return BoxTarget(boxes, target.labels[kept])


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
