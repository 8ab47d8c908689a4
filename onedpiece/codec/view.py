"""Views of a photo: a crop, perhaps mirrored, that follows from a name and the photo's key alone."""

from hashlib import sha256
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

MIN_CROP_AREA = 0.35  # of a crop, as a share of the photo: less leaves parts of objects, at tens of tokens

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
    viewed = image if view.box == PLAIN.box else image.crop(pixel_box(view.box, image.width, image.height))
    return ImageOps.mirror(viewed) if view.flip else viewed


def pixel_box(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom in pixels of a picture of that size; never an empty box."""
    left, top = int(box[0] * width), int(box[1] * height)
    return left, top, max(left + 1, round(box[2] * width)), max(top + 1, round(box[3] * height))
