"""Pictures in and out: reading any file that Pillow reads, resizing, and between images and tensors.

Codec and command line need the very same pixels: the one to encode them, the other to say how far the
decoded file is from them.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from onedpiece.bitstream.format import checked_size
from onedpiece.errors import AbsurdSizeError, PictureError

Picture = Image.Image | str | PathLike[str] | Tensor
"""A PIL image, the path of one, or a (3, H, W) float tensor in [0, 1]."""


_WHITE = {"I": (65_535,), "F": (1, 255, 65_535)}  # what white may be, by mode; 16-bit files come as I;16 or I


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


def read_picture(source: str | PathLike[str] | BinaryIO) -> Image.Image:
    """Read a picture as `to_rgb` makes it; of an animation, the first frame.

    Args:
        source: a path, or a file that is open for reading bytes and can seek.

    Raises:
        PictureError: it is no picture that Pillow can read, is damaged, or has absurdly many pixels.
        OSError: the file cannot be opened.
    """
    if not isinstance(source, str | PathLike):
        return _read(source)
    with Path(source).open("rb") as file:
        return _read(file)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the picture upright, on white where it is transparent, as 8-bit RGB.

    16 and 32 bits a channel are scaled to 8, not clipped.

    Raises:
        PictureError: its pixels cannot be read or converted, or there are absurdly many.
    """
    try:
        checked_size(image.size)
        image.load()
        image = _upright(image)
        if image.mode == "F" or image.mode.startswith("I"):
            return _to_8_bits(image).convert("RGB")
        return _on_white(image) if image.has_transparency_data else image.convert("RGB")
    except AbsurdSizeError as error:
        raise PictureError(str(error)) from None
    except Exception as error:  # Pillow's decoders raise whatever their damaged input leads them to
        raise PictureError(f"the picture cannot be read: {_reason(error)}") from error


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the whole picture at `size`, (width, height) in pixels, squeezed or stretched, antialiased."""
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def _read(file: BinaryIO) -> Image.Image:
    try:
        image = Image.open(file)
    except Image.DecompressionBombError as error:
        raise PictureError(f"the picture is too large: {_reason(error)}") from error
    except UnidentifiedImageError:
        raise PictureError("not a picture that Pillow can read") from None
    except Exception as error:  # as in to_rgb
        raise PictureError(f"the picture cannot be read: {_reason(error)}") from error
    with image:
        return to_rgb(image)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged metadata is no reason to refuse whole pixels
        return image


def _to_8_bits(image: Image.Image) -> Image.Image:
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    values -= min(values.min(), 0.0)
    peak = float(values.max())
    white = next((white for white in _WHITE[image.mode[0]] if peak <= white), peak)
    return Image.fromarray(np.round(values * (255 / white)).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def read_square(path: Path, side: int) -> Image.Image:
    """Read a photo, turn it upright, resize its short side to `side` pixels, crop the centre: RGB, square."""
    return ImageOps.fit(read_picture(path), (side, side), Image.Resampling.LANCZOS)


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """Return RGB pictures of one size as (B, 3, H, W) in [0, 1]."""
    stacked = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255
