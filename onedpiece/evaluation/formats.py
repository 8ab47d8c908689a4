"""Classical image formats at their best: whole files from bare pixels, and back."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from PIL import Image, features


class MissingFormatError(RuntimeError):
    """A format was asked for whose library is not on this machine."""


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


_PERCENT = range(101)

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
_PILLOW_FEATURE = {"webp": "webp", "avif": "avif", "jpeg2000": "jpg_2000"}
_PACKAGE = {"jxl": "pillow_jxl", "blurhash": "blurhash", "thumbhash": "thumbhash"}

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
    from onedpiece.evaluation.hashes import BlurHash, ThumbHash

    return BlurHash() if name == "blurhash" else ThumbHash()
