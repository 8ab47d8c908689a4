"""Image formats at their best: whole files from bare pixels, and back.

The classical ones through Pillow; BlurHash and ThumbHash, the placeholders of the web, with a file of their
own.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from onedpiece.errors import MissingFormatError

_PERCENT = range(101)
_PILLOW_FEATURE = {"webp": "webp", "avif": "avif", "jpeg2000": "jpg_2000"}
_PACKAGE = {"jxl": "pillow_jxl", "blurhash": "blurhash", "thumbhash": "thumbhash"}


_SIDE = 64  # pixels a side of what is analysed and drawn: a few low frequencies need no more


class Format(Protocol):
    """A lossy format with one quality knob."""

    @property
    def name(self) -> str:
        """What the command line calls it."""

    @property
    def qualities(self) -> Sequence[int]:
        """The settings of the knob, from the smallest file to the largest."""

    @property
    def scales(self) -> bool:
        """Whether the picture may be shrunk before it is encoded."""

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """Return the whole file of an RGB picture."""

    def decode(self, data: bytes) -> Image.Image:
        """Return the RGB picture of a file, at the size that it was encoded at."""


@dataclass(frozen=True)
class PillowFormat:
    """A format that Pillow reads and writes."""

    name: str
    writer: str  # Pillow's name
    qualities: Sequence[int]
    options: Callable[[int], Mapping[str, Any]]
    variants: tuple[Mapping[str, Any], ...] = ({},)  # all are tried, the smallest file is kept
    trim: Callable[[bytes], bytes] = bytes  # drops what is no part of the picture
    scales: bool = True

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """Return the smallest file that the variants give at this quality."""
        bare = _bare(image)
        return min((self._save(bare, {**self.options(quality), **v}) for v in self.variants), key=len)

    def _save(self, image: Image.Image, options: Mapping[str, Any]) -> bytes:
        file = io.BytesIO()
        image.save(file, self.writer, **options)
        return self.trim(file.getvalue())

    def decode(self, data: bytes) -> Image.Image:
        """Return the RGB picture of a file."""
        return Image.open(io.BytesIO(data)).convert("RGB")


def _bare(image: Image.Image) -> Image.Image:
    # Pillow copies a picture's colour profile and EXIF into the file (3 kB in AVIF); pixels carry neither.
    return Image.frombytes("RGB", image.size, image.convert("RGB").tobytes())


def _without_comment(codestream: bytes) -> bytes:
    """Drop the COM segments of a JPEG 2000 main header, where OpenJPEG leaves its version."""
    kept, at = codestream[:2], 2
    while codestream[at : at + 2] != b"\xff\x90":  # SOT: the main header ends
        end = at + 2 + int.from_bytes(codestream[at + 2 : at + 4], "big")
        if codestream[at : at + 2] != b"\xff\x64":
            kept += codestream[at:end]
        at = end
    return kept + codestream[at:]


def _jpeg2000_options(quality: int) -> dict[str, Any]:
    # 100 rates, evenly spaced on a log scale, from 1000:1 to 2:1.
    rate = 1000 * (2 / 1000) ** ((quality - 1) / 99)
    return {"quality_mode": "rates", "quality_layers": [rate], "irreversible": True, "no_jp2": True}


_PILLOW = {
    "jpeg": PillowFormat(
        "jpeg",
        "JPEG",
        range(1, 96),
        lambda q: {"quality": q, "optimize": True},
        variants=({"progressive": False}, {"progressive": True}),
    ),
    "webp": PillowFormat("webp", "WEBP", _PERCENT, lambda q: {"quality": q, "method": 6}),
    "avif": PillowFormat("avif", "AVIF", _PERCENT, lambda q: {"quality": q, "speed": 4}),
    "jxl": PillowFormat(
        "jxl", "JXL", range(1, 100), lambda q: {"quality": q, "effort": 9, "lossless": False}
    ),
    "jpeg2000": PillowFormat("jpeg2000", "JPEG2000", range(1, 101), _jpeg2000_options, trim=_without_comment),
}

FORMATS = (*_PILLOW, "blurhash", "thumbhash")
"""Every name that `image_format` knows."""


def image_format(name: str) -> Format:
    """Return the format called `name`, one of FORMATS.

    Raises:
        ValueError: no such format.
        MissingFormatError: its library is missing; the message names what to install.
    """
    if name not in FORMATS:
        raise ValueError(f"no format {name!r}; there are: {', '.join(FORMATS)}")
    if name in _PILLOW_FEATURE and not features.check(_PILLOW_FEATURE[name]):
        raise MissingFormatError(f"this build of Pillow has no {name}: pip install --upgrade pillow")
    if name in _PACKAGE:
        try:
            import_module(_PACKAGE[name])  # pillow_jxl registers itself with Pillow
        except ImportError as error:
            raise MissingFormatError(f"{name} needs an extra: pip install 'onedpiece[formats]'") from error
    if name in _PILLOW:
        return _PILLOW[name]

    return BlurHash() if name == "blurhash" else ThumbHash()


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
