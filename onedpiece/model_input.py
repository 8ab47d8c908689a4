"""What callers hand in, as what the model takes: any picture to a square of numbers, and back to 8 bits."""

from os import PathLike
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from onedpiece.pictures import read_picture, resize, to_rgb

Picture = Image.Image | str | PathLike[str] | Tensor
"""A PIL image, the path of one, or a (3, H, W) float tensor in [0, 1]."""


class ModelInput(NamedTuple):
    """A photo at the model's own size.

    Attributes:
        pixels: (3, S, S) float32 in [0, 1].
        photo_size: (width, height) that it had.
    """

    pixels: Tensor
    photo_size: tuple[int, int]

    @property
    def size(self) -> tuple[int, int] | None:
        """What the file says: nothing where the photo has the model's own size."""
        return None if self.photo_size == size_of(self.pixels) else self.photo_size


def to_photo(image: Picture) -> Image.Image:
    """Return a picture as the 8-bit RGB image that its decoded file is compared with.

    Raises:
        PictureError, OSError, ValueError, TypeError: as `Codec.encode`.
    """
    if isinstance(image, Tensor):
        return to_image(checked_tensor(image).cpu())
    if not isinstance(image, Image.Image | str | PathLike):
        raise TypeError(
            f"found {type(image).__name__}; expected a PIL image, a path or a (3, H, W) float tensor"
        )
    return to_rgb(image) if isinstance(image, Image.Image) else read_picture(image)


def to_input(image: Picture, side: int) -> ModelInput:
    """Squeeze a picture to `side` pixels square.

    Raises:
        PictureError, OSError, ValueError, TypeError: as `Codec.encode`.
    """
    if isinstance(image, Tensor):
        return _tensor_to_input(checked_tensor(image), side)
    photo = to_photo(image)
    # torch.tensor copies: Pillow's memory is read-only.
    squeezed = torch.tensor(np.asarray(resize(photo, (side, side)))).permute(2, 0, 1)
    return ModelInput(squeezed.float() / 255, photo.size)


def checked_tensor(image: Tensor) -> Tensor:
    """Return a picture, (3, H, W), as float32 in [0, 1], or raise a ValueError that says why it is none."""
    if image.ndim != 3 or image.shape[0] != 3 or not image.numel():
        raise ValueError(f"the tensor has shape {tuple(image.shape)}; expected (3, H, W)")
    if not image.is_floating_point():
        raise ValueError(
            f"the tensor is of type {image.dtype}; expected floats in [0, 1]: divide 8-bit values by 255"
        )
    pixels = image.detach().float()
    if not (pixels.min() >= 0 and pixels.max() <= 1):  # also false for NaN
        raise ValueError(
            f"the tensor's values run from {pixels.min():.4g} to {pixels.max():.4g}; expected [0, 1]"
        )
    return pixels


def _tensor_to_input(pixels: Tensor, side: int) -> ModelInput:
    if size_of(pixels) == (side, side):
        return ModelInput(pixels, (side, side))
    squeezed = F.interpolate(pixels[None], (side, side), mode="bicubic", align_corners=False, antialias=True)
    return ModelInput(squeezed[0].clamp(0, 1), size_of(pixels))


def size_of(picture: Tensor) -> tuple[int, int]:
    """Return (width, height) of a (3, H, W) tensor."""
    return picture.shape[2], picture.shape[1]


def to_image(picture: Tensor) -> Image.Image:
    """Return (3, H, W) in [0, 1] as an 8-bit RGB image, every value to the nearest level."""
    return Image.fromarray((picture * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy())
