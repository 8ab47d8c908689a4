"""The one reader of pictures: files and folders → upright 8-bit sRGB images, with Pillow and numpy only.

Codec, comparisons and training see the very same pixels. Tensors are in `codec.tensors`.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError

from onedpiece._files import one_line
from onedpiece.bitstream.format import checked_size
from onedpiece.codec.colour import Converted, convert
from onedpiece.errors import AbsurdSizeError, PictureError

_PLUGINS = {"pillow_jxl": "pillow-jxl-plugin", "pillow_heif": "pillow-heif"}  # module, and what pip calls it
_TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt"}
_PROFILE_BYTES = 1 << 26
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_END = b"\xff\xd9"


def read_picture(source: str | PathLike[str] | BinaryIO) -> Image.Image:
    """Read a picture as `to_rgb` makes it; of an animation, the first frame.

    Args:
        source: a path, or a file that is open for reading bytes and can seek.

    Raises:
        PictureError: it is no picture that Pillow can read, is damaged, or has absurdly many pixels.
        OSError: the file cannot be opened.
    """
    return read_converted(source).image


def read_converted(source: str | PathLike[str] | BinaryIO) -> Converted:
    """As `read_picture`, with what was done to the values: colours, range, orientation, transparency."""
    if not isinstance(source, str | PathLike):
        return _read(source)
    with Path(source).open("rb") as file:
        return _read(file)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the picture upright, on white where it is transparent, as 8-bit sRGB (`colour.convert`).

    Raises:
        PictureError: its pixels cannot be read or converted, or there are absurdly many.
    """
    return _convert(image).image


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the whole picture at `size`, (width, height) in pixels, whatever its shape; antialiased."""
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def read_square(path: Path, image_size: int) -> Image.Image:
    """Read a picture, resize its short side to `image_size` pixels, crop the centre: RGB, square."""
    return ImageOps.fit(read_picture(path), (image_size, image_size), Image.Resampling.LANCZOS)


def _read(file: BinaryIO) -> Converted:
    try:
        return _open_and_convert(file)
    except PictureError as error:
        cause = str(error)
        mended = _mended(file, cause)
        if mended is None:
            raise
    converted = _open_and_convert(mended.file)
    warnings.warn(mended.note, stacklevel=4)
    return Converted(converted.image, (*converted.conversions, mended.note))


def _open_and_convert(file: BinaryIO) -> Converted:
    image = _open(file)
    with image:
        return _convert(image)


def _open(file: BinaryIO) -> Image.Image:
    start = file.tell()
    try:
        try:
            return Image.open(file)
        except UnidentifiedImageError:
            _register_plugins()
            file.seek(start)
            return Image.open(file)
    except Image.DecompressionBombError as error:
        raise PictureError(f"the picture is too large: {one_line(error)}") from error
    except UnidentifiedImageError:
        file.seek(start)
        raise PictureError(_unknown(file.read(16))) from None
    except Exception as error:  # Pillow's decoders raise whatever their damaged input leads them to
        raise PictureError(f"the picture cannot be read: {one_line(error)}") from error


def _convert(image: Image.Image) -> Converted:
    try:
        checked_size(image.size)
        image.load()
        return convert(image)
    except AbsurdSizeError as error:
        raise PictureError(str(error)) from None
    except Exception as error:  # as in _open
        raise PictureError(f"the picture cannot be read: {one_line(error)}") from error


@cache
def _register_plugins() -> None:
    """Teach Pillow the formats whose packages are installed."""
    for module in _PLUGINS:
        try:
            plugin = import_module(module)
        except ImportError:
            continue
        if hasattr(plugin, "register_heif_opener"):
            plugin.register_heif_opener()


def _unknown(head: bytes) -> str:
    """Say why a file that starts so was not recognised."""
    package = None
    if head.startswith(b"\xff\x0a") or head[4:8] == b"JXL ":
        package = "JPEG XL", "pillow-jxl-plugin"
    elif head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        package = "HEIC", "pillow-heif"
    if package is None:
        return "not a picture that Pillow can read"
    return f"{package[0]} pictures need a package: pip install {package[1]}"


class _Mended(NamedTuple):
    file: BinaryIO
    note: str


def _mended(file: BinaryIO, cause: str) -> _Mended | None:
    """A copy that can be read of a file whose pixels are fine, where `cause` says what is not; else None."""
    file.seek(0)
    if "truncated" in cause and file.read(2) == b"\xff\xd8":
        file.seek(0)
        return _Mended(BytesIO(file.read() + _JPEG_END), "the file ends early; some pixels may be missing")
    file.seek(0)
    if "too large" in cause and file.read(8) == _PNG:
        return _Mended(BytesIO(_PNG + b"".join(_bare_chunks(file))), "overlong text or profile left out")
    return None


def _bare_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yield a PNG's chunks without its texts, and without a profile longer than Pillow takes."""
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        rest = file.read(length + 4)
        if name not in _TEXT_CHUNKS and not (name == b"iCCP" and _inflated(rest) > 1 << 20):
            yield head + rest


def _inflated(chunk: bytes) -> int:
    try:
        return len(zlib.decompressobj().decompress(chunk[chunk.index(b"\0") + 2 :], _PROFILE_BYTES))
    except (ValueError, zlib.error):
        return 0
