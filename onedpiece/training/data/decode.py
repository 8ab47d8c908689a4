"""Encoded bytes to a square of pixels."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from onedpiece.training.data.members import Member, read


def square(data: bytes, size: int) -> NDArray[np.uint8]:
    """Decode a picture, scale its short side to `size` and crop the centre.

    Args:
        data: an encoded picture, in any format that Pillow reads.
        size: side of the square in pixels.

    Returns:
        (3, size, size), RGB.
    """
    with Image.open(BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    if upright.size != (size, size):
        upright = ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(upright).transpose(2, 0, 1))


def decode(member: Member, size: int) -> NDArray[np.uint8]:
    """Read and decode one picture (see `square`).

    Raises:
        ValueError: the bytes are no picture; the message says where they lie.
    """
    try:
        return square(read(member), size)
    except OSError as error:
        raise ValueError(
            f"{member.key} in {member.path} is no readable picture ({error}); remove it"
        ) from error
