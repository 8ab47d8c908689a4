"""Photos as 8-bit RGB: reading any file that Pillow reads, bringing to a size, comparing.

It stands beside `codec.py` because codec and command line need the very same pixels: the one to encode them,
the other to say how far the decoded file is from them. No torch.
"""

from math import log10
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from onedpiece.bitstream.errors import AbsurdSizeError
from onedpiece.bitstream.limits import checked_size

_WHITE = {"I": (65_535,), "F": (1, 255, 65_535)}  # what white may be, by mode; 16-bit files come as I;16 or I


class PictureError(ValueError):
    """A picture that cannot be read, or is too large to be."""


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


def psnr(photo: Image.Image, image: Image.Image) -> float:
    """Return the peak signal-to-noise ratio of two RGB pictures of one size, over all channels, in dB.

    Equal pictures have an infinite one.
    """
    counts = np.array(ImageChops.difference(photo, image).histogram(), np.float64).reshape(3, 256)
    error = float((counts @ np.arange(256.0) ** 2).sum() / counts.sum())
    return 10 * log10(255**2 / error) if error else float("inf")


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
