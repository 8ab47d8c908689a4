"""Pictures ↔ arrays and tensors: (3, H, W) or (B, 3, H, W) in [0, 1]; `Photo`, a picture on its way in.

Arrays come and go without torch, which is loaded where somebody gives or wants a tensor.
"""

import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.codec.images import REDUCING_GAP, read_picture, to_rgb
from onedpiece.codes import TokenBatch, pad
from onedpiece.tokenizer.config import RANGE_SLACK

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")

Pixels: TypeAlias = "NDArray[np.float32] | Tensor"
"""Values in [0, 1], on whatever device a tensor is on."""

Picture: TypeAlias = "Photo | Image.Image | str | PathLike[str] | Tensor | NDArray[Any]"
"""A PIL image, the path of one, a (3, H, W) tensor or an (H, W, 3) array: floats in [0, 1] or uint8."""

Pictures: TypeAlias = "Sequence[Picture] | Tensor | NDArray[Any]"
"""Pictures of any sizes, a (B, 3, H, W) tensor, or a (B, H, W, 3) array."""


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
        self._array = checked_array(picture) if is_tensor(picture) or _is_array(picture) else None
        self._image = None if self._array is not None else _to_image(picture)
        self.size = size_of(self._array) if self._array is not None else self.image.size
        """(width, height) in pixels."""

    @cached_property
    def image(self) -> Image.Image:
        """The photo as 8-bit RGB, which its decoded file is compared with."""
        if self._image is not None:
            return self._image
        assert self._array is not None
        return to_image(self._array)

    def pixels(self, image_size: int) -> NDArray[np.float32]:
        """Return the photo resized to a square: (3, S, S) in [0, 1]."""
        square = (image_size, image_size)
        if self._array is None:
            (pixels,) = to_array([resize(self.image, square)])
            return np.asarray(pixels)
        return resize_array(self._array, square)

    def keep_square(self, image_size: int) -> None:
        """Resize now, and let go of the photo's own pixels: only a quality target looks at them again."""
        if self._array is None:
            self._image = resize(self.image, (image_size, image_size))
        else:
            self._array = self.pixels(image_size)
        self.__dict__.pop("image", None)


def to_photo(picture: "Picture") -> Photo:
    """Return what the codec is given as a `Photo`; one that was read already as it is."""
    return picture if isinstance(picture, Photo) else Photo(picture)


def attempt(work: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return what `work` gives, or the exception that it raises."""
    try:
        return work(*args, **options)
    except Exception as error:
        return error


def is_tensor(value: Any) -> "TypeGuard[Tensor]":
    """Return whether it is a torch tensor, without loading torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _is_array(value: Any) -> TypeGuard[NDArray[Any]]:
    return isinstance(value, np.ndarray)


def _to_image(picture: Any) -> Image.Image:
    if isinstance(picture, Image.Image):
        return to_rgb(picture)
    if isinstance(picture, str | PathLike):
        return read_picture(picture)
    raise TypeError(
        f"found {type(picture).__name__}; expected a PIL image, a path, a (3, H, W) tensor or an "
        "(H, W, 3) array"
    )


def checked_array(picture: "Tensor | NDArray[Any]") -> NDArray[np.float32]:
    """Return a (3, H, W) tensor or an (H, W, 3) array as an array, (3, H, W), in [0, 1].

    Raises:
        ValueError: another shape, a type that is neither float nor uint8, or values outside the range.
    """
    if is_tensor(picture):
        what, channels, expected = "tensor", 0, "(3, H, W)"
    else:
        what, channels, expected = "array", -1, "(H, W, 3)"
    if picture.ndim != 3 or picture.shape[channels] != 3 or 0 in picture.shape:
        raise ValueError(f"the {what} has shape {tuple(picture.shape)}; expected {expected}")
    array = as_array(picture) if is_tensor(picture) else np.asarray(picture).transpose(2, 0, 1)
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"the {what} is of type {picture.dtype}; expected floats in [0, 1], or uint8")
    pixels = array.astype(np.float32)
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= -RANGE_SLACK and high <= 1 + RANGE_SLACK):  # also for NaN
        raise ValueError(
            f"the {what}'s values run from {low:.6g} to {high:.6g}; expected [0, 1], or uint8 up to 255"
        )
    return pixels.clip(0, 1)


def as_array(pixels: Pixels) -> NDArray[Any]:
    """Return an array as it is, and a tensor as an array of its type; of half precision, in float32."""
    if not is_tensor(pixels):
        return np.asarray(pixels)
    tensor = pixels.detach().cpu()
    short = tensor.is_floating_point() and tensor.itemsize == 2  # numpy has no bfloat16
    return np.asarray((tensor.float() if short else tensor).numpy())


def as_list(pictures: Pictures) -> list[Picture]:
    """Return pictures one by one: of a sequence, a (B, 3, H, W) tensor or a (B, H, W, 3) array.

    Raises:
        ValueError: a tensor or an array that is no batch.
        TypeError: it is one picture's path.
    """
    if isinstance(pictures, str | PathLike):
        raise TypeError(f"found one path, {str(pictures)!r}; expected a list of pictures")
    if (is_tensor(pictures) or _is_array(pictures)) and pictures.ndim != 4:
        raise ValueError(
            f"the batch has shape {tuple(pictures.shape)}; expected a (B, 3, H, W) tensor or a (B, H, W, 3) "
            "array"
        )
    return list(pictures)


def as_codes(codes: Sequence[T]) -> Sequence[T]:
    """Return several codes as they are.

    Raises:
        TypeError: it is one code, or what one can be read from.
    """
    if isinstance(codes, str | bytes | bytearray | memoryview | PathLike | Code):
        raise TypeError(f"found one {type(codes).__name__}; expected a list of codes, paths or bytes")
    return codes


def size_of(picture: Pixels) -> tuple[int, int]:
    """Return (width, height) of (3, H, W)."""
    return picture.shape[2], picture.shape[1]


def to_image(picture: Pixels) -> Image.Image:
    """Return (3, H, W) in [0, 1] as an 8-bit RGB image, every value to the nearest level."""
    levels = np.rint(as_array(picture) * 255).astype(np.uint8).transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(levels))


def to_array(images: Sequence[Image.Image]) -> NDArray[np.float32]:
    """Return RGB pictures of one size as (B, 3, H, W) in [0, 1]; in memory, channels are the last axis."""
    stacked = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return stacked.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def to_tensor(images: Sequence[Image.Image]) -> "Tensor":
    """Return RGB pictures of one size as (B, 3, H, W) in [0, 1]."""
    import torch

    return torch.from_numpy(to_array(images))


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the whole picture at `size`, (width, height) in pixels, whatever its shape; antialiased."""
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)


def sized(picture: "Image.Image | Pixels", size: tuple[int, int]) -> Image.Image:
    """Return (3, H, W) in [0, 1] as an image at `size`, (width, height) in pixels; an image as it is."""
    return picture if isinstance(picture, Image.Image) else resize(to_image(picture), size)


def no_larger(picture: "Image.Image | Pixels", size: tuple[int, int]) -> Image.Image:
    """Return an image that `image_psnr` takes beside a photo of `size`: resized where it is larger."""
    image = picture if isinstance(picture, Image.Image) else to_image(picture)
    return image if image.width <= size[0] and image.height <= size[1] else resize(image, size)


def resize_array(picture: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return (3, H, W) in [0, 1] at `size`, (width, height) in pixels; bicubic, antialiased, clipped."""
    if size_of(picture) == size:
        return picture
    channels = [Image.fromarray(np.ascontiguousarray(channel)) for channel in picture]
    resized = [np.asarray(each.resize(size, Image.Resampling.BICUBIC)) for each in channels]
    return np.stack(resized).clip(0, 1)


def one_size(sizes: Sequence[tuple[int, int]], default: tuple[int, int]) -> tuple[int, int]:
    """Return the size that all pictures have, (width, height); `default` where there are none.

    Raises:
        ValueError: they differ.
    """
    if len(set(sizes)) > 1:
        found = ", ".join(f"{width}x{height}" for width, height in sorted(set(sizes)))
        raise ValueError(f"the photos are of sizes {found}; decode one size at a time, or to images")
    return sizes[0] if sizes else default


def stack(pictures: "Sequence[Image.Image | Pixels]", size: tuple[int, int]) -> NDArray[np.float32]:
    """Return pictures as one array, (B, 3, H, W) in [0, 1], each at `size`, (width, height) in pixels."""
    arrays = [to_array([each])[0] if isinstance(each, Image.Image) else as_array(each) for each in pictures]
    resized = [resize_array(each, size) for each in arrays]
    return np.stack(resized) if resized else np.zeros((0, 3, size[1], size[0]), np.float32)


def stack_tensors(
    pictures: "Sequence[Image.Image | Pixels]", size: tuple[int, int], device: "str | torch.device"
) -> "Tensor":
    """As `stack`, as a tensor on `device`; what is there already, and of that size, does not leave it."""
    import torch

    rows = [
        each if is_tensor(each) and size_of(each) == size else torch.from_numpy(stack([each], size)[0])
        for each in pictures
    ]
    if not rows:
        return torch.zeros(0, 3, size[1], size[0], device=device)
    return torch.stack([row.to(device) for row in rows])


def pad_tokens(
    codes: Sequence[Code], pad_to: int | None = None, device: "str | torch.device" = "cpu"
) -> TokenBatch:
    """Return codes of squares as one tensor.

    Args:
        codes: of any lengths, one square each.
        pad_to: K, how long the rows are; None: as long as the longest code.
        device: where the tensors are to be.

    Raises:
        ValueError: a code is longer than `pad_to`, or is one of tiles.
    """
    longest = max((len(code) for code in codes), default=0)
    width = longest if pad_to is None else pad_to
    if longest > width:
        raise ValueError(f"pad_to is {pad_to}; the longest of these codes has {longest} tokens")
    if any(code.tiles for code in codes):
        raise ValueError("a code of tiles is no row of tokens; encode with tiles=False")
    tokens, mask = pad([code.indices for code in codes], width)
    return TokenBatch(tokens.to(device), mask.to(device))
