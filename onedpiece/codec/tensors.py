"""Pictures ↔ tensors: (3, H, W) or (B, 3, H, W) in [0, 1]; `Photo`, a picture on its way into the codec."""

from collections.abc import Sequence
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from onedpiece.codec.images import read_picture, to_rgb
from onedpiece.tokenizer.tokenizer import RANGE_SLACK


class Photo:
    """A picture of any size, read and converted to RGB once.

    Args:
        picture: what the codec is given.

    Raises:
        PictureError: the file cannot be read as a picture.
        OSError: it cannot be opened.
        ValueError: a tensor or an array of another shape, type or range; the message says which.
        TypeError: it is none of these.
    """

    def __init__(self, picture: "Picture") -> None:
        self._tensor = checked_tensor(picture) if isinstance(picture, Tensor | np.ndarray) else None
        self._image = None if self._tensor is not None else _to_image(picture)
        self.size = size_of(self._tensor) if self._tensor is not None else self.image.size
        """(width, height) in pixels."""

    @cached_property
    def image(self) -> Image.Image:
        """The photo as 8-bit RGB, which its decoded file is compared with."""
        if self._image is not None:
            return self._image
        assert self._tensor is not None
        return to_image(self._tensor)

    def pixels(self, image_size: int) -> Tensor:
        """Return the photo resized to a square: (3, S, S) float32 in [0, 1]."""
        square = (image_size, image_size)
        if self._tensor is None:
            return to_tensor([resize(self.image, square)])[0]
        return self._tensor if size_of(self._tensor) == square else resize_tensor(self._tensor, square)

    def keep_square(self, image_size: int) -> None:
        """Resize now, and let go of the photo's own pixels: only a quality target looks at them again."""
        if self._tensor is None:
            self._image = resize(self.image, (image_size, image_size))
        else:
            self._tensor = self.pixels(image_size)
        self.__dict__.pop("image", None)


Picture = Photo | Image.Image | str | PathLike[str] | Tensor | NDArray[Any]
"""A PIL image, the path of one, a (3, H, W) tensor or an (H, W, 3) array: floats in [0, 1] or uint8."""


def to_photo(picture: Picture) -> Photo:
    """Return what the codec is given as a `Photo`; one that was read already as it is."""
    return picture if isinstance(picture, Photo) else Photo(picture)


def _to_image(picture: Any) -> Image.Image:
    if isinstance(picture, Image.Image):
        return to_rgb(picture)
    if isinstance(picture, str | PathLike):
        return read_picture(picture)
    raise TypeError(
        f"found {type(picture).__name__}; expected a PIL image, a path, a (3, H, W) tensor or an "
        "(H, W, 3) array"
    )


def checked_tensor(picture: Tensor | NDArray[Any]) -> Tensor:
    """Return a (3, H, W) tensor or an (H, W, 3) array as (3, H, W) float32 in [0, 1], on the CPU.

    Raises:
        ValueError: another shape, a type that is neither float nor uint8, or values outside the range.
    """
    if isinstance(picture, np.ndarray):
        what, channels, expected = "array", -1, "(H, W, 3)"
    else:
        what, channels, expected = "tensor", 0, "(3, H, W)"
    if picture.ndim != 3 or picture.shape[channels] != 3 or 0 in picture.shape:
        raise ValueError(f"the {what} has shape {tuple(picture.shape)}; expected {expected}")
    tensor = picture.detach().cpu() if isinstance(picture, Tensor) else _of_array(picture).permute(2, 0, 1)
    if tensor.dtype == torch.uint8:
        return tensor.float() / 255
    if not tensor.is_floating_point():
        raise ValueError(f"the {what} is of type {picture.dtype}; expected floats in [0, 1], or uint8")
    pixels = tensor.float()
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= -RANGE_SLACK and high <= 1 + RANGE_SLACK):  # also for NaN
        raise ValueError(
            f"the {what}'s values run from {low:.6g} to {high:.6g}; expected [0, 1], or uint8 up to 255"
        )
    return pixels.clamp(0, 1)


def _of_array(array: NDArray[Any]) -> Tensor:
    try:
        return torch.from_numpy(np.require(array, requirements=["C", "W"]))  # copied where read-only
    except TypeError as error:
        raise ValueError(
            f"the array is of type {array.dtype}; expected floats in [0, 1], or uint8"
        ) from error


def as_list(pictures: Sequence[Picture] | Tensor | NDArray[Any]) -> list[Picture]:
    """Return pictures one by one: of a sequence, a (B, 3, H, W) tensor or a (B, H, W, 3) array.

    Raises:
        ValueError: a tensor or an array that is no batch.
    """
    if isinstance(pictures, Tensor | np.ndarray) and pictures.ndim != 4:
        raise ValueError(
            f"the batch has shape {tuple(pictures.shape)}; expected a (B, 3, H, W) tensor or a (B, H, W, 3) "
            "array"
        )
    return list(pictures)


def size_of(picture: Tensor) -> tuple[int, int]:
    """Return (width, height) of a (3, H, W) tensor."""
    return picture.shape[2], picture.shape[1]


def to_image(picture: Tensor) -> Image.Image:
    """Return (3, H, W) in [0, 1] as an 8-bit RGB image, every value to the nearest level."""
    levels = (picture.detach() * 255).round().to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(levels.contiguous().cpu().numpy())


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """Return RGB pictures of one size as (B, 3, H, W) in [0, 1]."""
    stacked = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the whole picture at `size`, (width, height) in pixels, whatever its shape; antialiased."""
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def resize_tensor(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (3, H, W) in [0, 1] at `size`, (width, height) in pixels; bicubic, antialiased, clipped."""
    whole = picture[None]
    resized = F.interpolate(whole, size[::-1], mode="bicubic", align_corners=False, antialias=True)
    return resized[0].clamp(0, 1)
