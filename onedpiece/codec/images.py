"""The one reader of pictures: files and folders → upright 8-bit sRGB images, with Pillow and numpy only.

Codec, comparisons and training see the very same pixels. Tensors are in `codec.tensors`.
"""

import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from io import SEEK_END, BytesIO
from os import PathLike
from pathlib import Path
from typing import BinaryIO, NamedTuple
from zlib import crc32

from PIL import Image, ImageOps, UnidentifiedImageError

from onedpiece._files import one_line
from onedpiece.bitstream.header import checked_size
from onedpiece.codec.boxes import JXL_STARTS, is_turned_by_heif, read_jxl_header
from onedpiece.codec.colour import Step, as_srgb, colour_step, lab_to_rgb, range_of, to_8_bits
from onedpiece.errors import AbsurdSizeError, PictureError

_PLUGINS = {"pillow-jxl-plugin": "pillow_jxl", "pillow-heif": "pillow_heif"}  # what pip calls a module
_TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt"}
_PROFILE_BYTES = 1 << 26
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_END = b"\xff\xd9"
_LAST_BYTES = 16  # that may be missing of a file in another format, for it to count as whole

ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_SIDEWAYS = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)

_STRIP = 1 << 20  # pixels that are converted at a time

_SURE_PIXELS = 25_000_000  # which memory is taken for on the word of a header,
_PIXELS_A_BYTE = 2000  # and as many more as a file of its size may hold: even a blank PNG has 1,000


REDUCING_GAP = 3.0
"""A picture is halved the cheap way only while it stays this many times larger than the wanted size."""


class Converted(NamedTuple):
    """An upright RGB picture, and what was done to its values: nothing for a plain photo."""

    image: Image.Image
    conversions: tuple[str, ...]
    damage: str = ""  # what of the file is damaged, though its pixels could be read
    size: tuple[int, int] | None = None  # of the picture in the file, upright, where `image` is smaller


def read_picture(source: str | PathLike[str] | BinaryIO, wanted: int | None = None) -> Image.Image:
    """Read a picture as `to_rgb` makes it; of an animation, the first frame.

    Args:
        source: a path, or a file that is open for reading bytes and can seek; it is read from its beginning.
        wanted: side in pixels of the square that it is resized to. A JPEG is then decoded to a half, a
            quarter or an eighth where that still is `REDUCING_GAP` times larger: 12 megapixels in a third of
            the time, to a square 40 dB away and more. None: to all its pixels.

    Raises:
        PictureError: it is no picture that Pillow can read, is damaged, or has absurdly many pixels.
        OSError: the file cannot be opened.
    """
    read = read_converted(source, wanted)
    if read.damage:
        warnings.warn(read.damage, stacklevel=2)
    return read.image


def read_converted(source: str | PathLike[str] | BinaryIO, wanted: int | None = None) -> Converted:
    """As `read_picture` without its warning: with what was done to the values, and what is damaged."""
    if not isinstance(source, str | PathLike):
        return _read(source, wanted)
    with Path(source).open("rb") as file:
        return _read(file if file.seekable() else BytesIO(file.read()), wanted)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the picture upright, on white where it is transparent, as 8-bit sRGB (see `convert`).

    One that is all this, and says nothing else of its pixels, is not copied.

    Raises:
        PictureError: its pixels cannot be read or converted, or there are absurdly many.
    """
    _check_size(image.size)
    if type(image) is Image.Image and image.mode == "RGB" and not image.info and not image.getexif():
        return image
    _load(image)
    return _convert(image, _TURNS.get(_orientation(image))).image


def read_square(path: Path, image_size: int) -> Image.Image:
    """Read a picture, resize its short side to `image_size` pixels, crop the centre: RGB, square."""
    # All of its pixels: published scores are of such squares.
    return ImageOps.fit(read_picture(path), (image_size, image_size), Image.Resampling.LANCZOS)


def _read(file: BinaryIO, wanted: int | None) -> Converted:
    with warnings.catch_warnings():
        # Their words and their module's path say nothing of the file; what counts is noted or raised.
        warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif|pillow_jxl)\b")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow 12's names our module
        try:
            return _open_and_convert(file, wanted)
        except PictureError as error:
            mended = _mended(file, str(error))
            if mended is None:
                raise
        converted = _open_and_convert(mended.file, wanted)
    return converted._replace(conversions=(*converted.conversions, mended.note), damage=mended.note)


def _open_and_convert(file: BinaryIO, wanted: int | None) -> Converted:
    length = file.seek(0, SEEK_END)
    file.seek(0)
    turned = False
    if file.read(12).startswith(JXL_STARTS):
        file.seek(0)
        stated = read_jxl_header(file.read())
        if stated is not None:  # its decoder takes memory for all pixels as it opens the file
            _check_size(stated.size, length)
            turned = stated.orientation != 1
    with _open(file) as image:
        if image.format == "EPS":  # Pillow would run Ghostscript on it
            raise PictureError("EPS files are programs, not pictures; convert it first")
        _check_size(image.size, length)
        width, height = image.size
        least = int(REDUCING_GAP * (wanted or 0))
        smaller = wanted is not None and image.draft(None, (least, least)) is not None  # of JPEGs alone
        _load(image)
        turn = _turn_of(image, file, turned)
        converted = _convert(image, turn)
    size = (height, width) if turn in _SIDEWAYS else (width, height)
    return converted._replace(size=size) if smaller else converted


def _turn_of(image: Image.Image, file: BinaryIO, turned: bool) -> Image.Transpose | None:
    """Return the turn that the orientation in the EXIF data still asks for.

    JPEG XL and HEIC have an orientation of their own, which the decoder has followed where there is one, and
    which EXIF then repeats.
    """
    if image.format == "JXL" and turned and not getattr(image, "jpeg", False):  # a JPEG in it stays as it is
        return None
    if image.format == "HEIF":
        orientation = image.info.get("original_orientation")  # pillow-heif blanks the tag
        if orientation is None:
            return None
        file.seek(0)
        return None if is_turned_by_heif(file.read()) else _TURNS.get(orientation)
    return _TURNS.get(_orientation(image))


def _check_size(size: tuple[int, int], length: int | None = None) -> None:
    """Raise PictureError if nothing should allocate that many pixels, or no `length` bytes hold them."""
    try:
        width, height = checked_size(size)
    except AbsurdSizeError as error:
        raise PictureError(str(error)) from None
    if length is not None and width * height > max(_SURE_PIXELS, _PIXELS_A_BYTE * length):
        raise PictureError(f"the picture cannot be read: {width}x{height} pixels are in no {length} bytes")


def _open(file: BinaryIO) -> Image.Image:
    try:
        try:
            return Image.open(file)  # from its beginning, wherever it is
        except UnidentifiedImageError:
            register_plugins()
            return Image.open(file)
    except Image.DecompressionBombError as error:
        raise PictureError(f"the picture is too large: {one_line(error)}") from error
    except UnidentifiedImageError:
        file.seek(0)
        raise PictureError(_unknown(file.read(16))) from None
    except Exception as error:  # Pillow's decoders raise whatever their damaged input leads them to
        raise PictureError(f"the picture cannot be read: {one_line(error)}") from error


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except Exception as error:  # as in _open
        raise PictureError(f"the picture cannot be read: {one_line(error)}") from error


def _convert(image: Image.Image, turn: Image.Transpose | None) -> Converted:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow 12 asks at every crop
            return convert(image, turn)
    except Exception as error:  # as in _open
        raise PictureError(f"the picture cannot be read: {one_line(error)}") from error


@cache
def register_plugins() -> None:
    """Teach Pillow the formats whose packages are installed."""
    for module in _PLUGINS.values():
        try:
            plugin = import_module(module)
        except ImportError:
            continue
        if hasattr(plugin, "register_heif_opener"):
            plugin.register_heif_opener()


def _unknown(head: bytes) -> str:
    """Say why a file that starts so was not recognised."""
    package = None
    if head.startswith(JXL_STARTS):
        package = "JPEG XL", "pillow-jxl-plugin"
    elif head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        package = "HEIC", "pillow-heif"
    if package is None:
        return "not a picture that Pillow can read"
    if _PLUGINS[package[1]] in sys.modules:
        return f"the picture cannot be read: damaged {package[0]}"
    return f"{package[0]} pictures need a package: pip install {package[1]}"


class _Mended(NamedTuple):
    file: BinaryIO
    note: str


def _mended(file: BinaryIO, cause: str) -> _Mended | None:
    """A copy that can be read of a file whose pixels are fine, where `cause` says what is not; else None."""
    file.seek(0)
    start = file.read(8)
    file.seek(0)
    if start == _PNG:
        whole = file.read()
        bare = _PNG + b"".join(_bare_chunks(BytesIO(whole[8:])))
        return _Mended(BytesIO(bare), "damaged or overlong metadata left out") if bare != whole else None
    if "truncated" in cause or start[:4] == b"RIFF":
        end = _JPEG_END if start[:2] == b"\xff\xd8" else bytes(_LAST_BYTES)
        return _Mended(BytesIO(file.read() + end), "the file ends early; some pixels may be missing")
    return None


def _bare_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yield a PNG's chunks without its texts, a profile longer than Pillow takes, and damaged extras."""
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        rest = file.read(length + 4)
        extra = bool(name[0] & 0x20)  # a decoder may leave it out
        damaged = extra and crc32(name + rest[:-4]).to_bytes(4, "big") != rest[-4:]
        if not (damaged or name in _TEXT_CHUNKS or (name == b"iCCP" and _inflated(rest) > 1 << 20)):
            yield head + rest


def _inflated(chunk: bytes) -> int:
    try:
        return len(zlib.decompressobj().decompress(chunk[chunk.index(b"\0") + 2 :], _PROFILE_BYTES))
    except (ValueError, zlib.error):
        return 0


def convert(image: Image.Image, turn: Image.Transpose | None) -> Converted:
    """Return the picture upright, on white where it is transparent, as 8-bit sRGB.

    Colours go through the ICC profile or PNG's gamma and primaries that the picture names; a profile that is
    damaged or of another kind of picture is ignored. 16-bit, 32-bit and float values are scaled to 8 bits.
    `turn` brings it upright. All that happens in strips: a large picture costs hardly more than its result.
    """
    notes: list[str] = []
    if turn is not None:
        notes.append("turned upright")
    scale = None
    if image.mode == "F" or image.mode.startswith("I"):
        scale = range_of(image)
        notes.append(f"values {scale[0]:g} to {scale[1]:g} as 8 bits")
    to_srgb, note = _colour_step(image)
    notes += [note] if note else []
    if image.mode == "RGB" and to_srgb is as_srgb and not image.has_transparency_data:
        same = image.copy() if turn is None else image.transpose(turn)
        same.info = {}
        return Converted(same, tuple(notes))
    result = Image.new("RGB", image.size)
    transparent = False
    for box in _strips(image.size):
        strip = image.crop(box)
        colours, alpha = _split_alpha(strip if scale is None else to_8_bits(strip, *scale))
        colours = to_srgb(colours)
        if alpha is not None and alpha.getextrema() != (255, 255):
            colours = Image.composite(colours, Image.new("RGB", colours.size, "white"), alpha)
            transparent = True
        result.paste(colours, box)
    notes += ["transparent parts on white"] if transparent else []
    return Converted(result if turn is None else result.transpose(turn), tuple(notes))


def _strips(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    width, height = size
    rows = max(1, _STRIP // width)
    return ((0, top, width, min(top + rows, height)) for top in range(0, height, rows))


def _orientation(image: Image.Image) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata is no reason to doubt the pixels
            return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow's parser raises whatever damaged metadata leads it to
        return 1


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours, L, RGB or CMYK, and the opacity, L, where there is any."""
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert(image.mode.upper())
    if image.has_transparency_data:
        grey = image.mode == "LA"
        whole = image if grey else image.convert("RGBA")
        *bands, alpha = whole.split()
        return bands[0] if grey else Image.merge("RGB", bands), alpha
    if image.mode == "1":
        return image.convert("L"), None
    if image.mode == "LAB":
        return lab_to_rgb(image), None
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB"), None


def _colour_step(image: Image.Image) -> tuple[Step, str]:
    if not {"icc_profile", "gamma"} & image.info.keys():
        return as_srgb, ""
    whole_numbers = image.mode != "F" and not image.mode.startswith("I")
    mode = _split_alpha(image.crop((0, 0, 1, 1)))[0].mode if whole_numbers else "L"
    return colour_step(mode, image.info)
