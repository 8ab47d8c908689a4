"""BlurHash and ThumbHash, the placeholders of the web, as formats with a file of their own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 64  # pixels a side of what is analysed and drawn: a few low frequencies need no more


@dataclass(frozen=True)
class BlurHash:
    """BlurHash: 1-9 cosines a side in base 83; the quality is their sum, 2 to 18."""

    name: str = "blurhash"
    qualities: Sequence[int] = range(2, 19)
    scales: bool = False

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """Return the hash's characters; the longer half of an odd sum goes to the longer side."""
        import blurhash

        long, short = (quality + 1) // 2, quality // 2
        wide, high = (long, short) if image.width >= image.height else (short, long)
        text: str = blurhash.encode(image.resize((_SIDE, _SIDE), Image.Resampling.BOX), wide, high)
        return text.encode("ascii")

    def decode(self, data: bytes) -> Image.Image:
        """Return the picture, 64×64: its aspect ratio is no part of the hash."""
        import blurhash

        image: Image.Image = blurhash.decode(data.decode("ascii"), _SIDE, _SIDE)
        return image.convert("RGB")


@dataclass(frozen=True)
class ThumbHash:
    """ThumbHash: one size of file, about 25 bytes."""

    name: str = "thumbhash"
    qualities: Sequence[int] = (1,)
    scales: bool = False

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """Return the hash; there is no `quality` to choose."""
        import thumbhash

        small = image.convert("RGBA")
        small.thumbnail((_SIDE, _SIDE))
        return bytes(thumbhash.rgba_to_thumb_hash(small.width, small.height, list(small.tobytes())))

    def decode(self, data: bytes) -> Image.Image:
        """Return the picture of an opaque hash, 64×64.

        The decoder is ours: that of thumbhash 0.1.2 adds every pixel's cosines to those of the first one,
        draws a flat picture, and prints.
        """
        return Image.fromarray(_draw_thumbhash(data))


def _draw_thumbhash(data: bytes) -> NDArray[np.uint8]:
    luma, scales = int.from_bytes(data[:3], "little"), int.from_bytes(data[3:5], "little")
    landscape, short = scales >> 15, max(3, scales & 7)
    wide, high = (7, short) if landscape else (short, 7)
    nibbles = iter([n for byte in data[5:] for n in (byte & 15, byte >> 4)])
    lightness = _channel((luma & 63) / 63, (luma >> 18 & 31) / 31, wide, high, nibbles)
    # The format boosts the two colour channels by a quarter.
    yellow = _channel((luma >> 6 & 63) / 31.5 - 1, (scales >> 3 & 63) / 63 * 1.25, 3, 3, nibbles)
    red_green = _channel((luma >> 12 & 63) / 31.5 - 1, (scales >> 9 & 63) / 63 * 1.25, 3, 3, nibbles)
    blue = lightness - 2 / 3 * yellow
    red = (3 * lightness - blue + red_green) / 2
    rgb = np.stack([red, red - red_green, blue], axis=-1)
    return (rgb.clip(0, 1) * 255).round().astype(np.uint8)


def _channel(mean: float, scale: float, wide: int, high: int, nibbles: Iterator[int]) -> NDArray[np.float64]:
    """Draw one channel, 64×64: its mean, and the triangle of `wide` × `high` low frequencies, 4 bits each."""
    at = np.pi / _SIDE * (np.arange(_SIDE) + 0.5)
    drawn = np.full((_SIDE, _SIDE), mean)
    for y in range(high):
        for x in range(0 if y else 1, wide):
            if x * high >= wide * (high - y):
                break
            strength = (next(nibbles) / 7.5 - 1) * scale
            drawn += 2 * strength * np.outer(np.cos(at * y), np.cos(at * x))
    return drawn
