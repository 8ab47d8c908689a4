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

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from onedpiece._files import one_line
from onedpiece.bitstream.header import checked_size
from onedpiece.errors import AbsurdSizeError, PictureError

_PLUGINS = {"pillow_jxl": "pillow-jxl-plugin", "pillow_heif": "pillow-heif"}  # module, and what pip calls it
_TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt"}
_PROFILE_BYTES = 1 << 26
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_END = b"\xff\xd9"

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
_TURNED_BY_DECODER = {"JXL"}  # their EXIF repeats what the decoder has done

_RANGES = {"I": (255, 65_535), "F": (1, 255, 65_535)}  # what white may be, by mode
_SLACK = 0.05  # of the range: resampled and sharpened pictures overshoot by so much
_OUTLIERS = 0.001  # of the pixels at either end, which do not decide what the range is

_SRGB_GAMMA = 1 / 2.2
_SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # white, red, green, blue: x and y
_ALIKE = 2  # levels by which a profile may differ from sRGB and count as it

Floats = NDArray[np.float64]


class Converted(NamedTuple):
    """An upright RGB picture, and what was done to its values: nothing for a plain photo."""

    image: Image.Image
    conversions: tuple[str, ...]


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


def convert(image: Image.Image) -> Converted:
    """Return the picture upright, on white where it is transparent, as 8-bit sRGB.

    Colours go through the ICC profile or PNG's gamma and primaries that the picture names; a profile that is
    damaged or of another kind of picture is ignored. 16-bit, 32-bit and float values are scaled to 8 bits.
    """
    notes: list[str] = []
    info, source = dict(image.info), image.format
    turn = None if source in _TURNED_BY_DECODER else _TURNS.get(_orientation(image))
    if turn is not None:
        image = image.transpose(turn)
        notes.append("turned upright")
    if image.mode == "F" or image.mode.startswith("I"):
        image, note = _to_8_bits(image)
        notes.append(note)
    image, alpha = _split_alpha(image)
    image, note = _to_srgb(image, info)
    notes += [note] if note else []
    if alpha is not None and alpha.getextrema() != (255, 255):
        image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
        notes.append("transparent parts on white")
    image.info = {}
    return Converted(image, tuple(notes))


def _orientation(image: Image.Image) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata is no reason to doubt the pixels
            return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow's parser raises whatever damaged metadata leads it to
        return 1


def _to_8_bits(image: Image.Image) -> tuple[Image.Image, str]:
    values = np.asarray(image).astype(np.float64)
    low, high = (0.0, 65_535.0) if image.mode.startswith("I;16") else _value_range(values, image.mode[0])
    scaled = np.nan_to_num((values - low) * (255 / (high - low)), nan=0.0, posinf=255.0, neginf=0.0)
    levels = np.round(scaled.clip(0, 255)).astype(np.uint8)
    return Image.fromarray(levels), f"values {low:g} to {high:g} as 8 bits"


def _value_range(values: Floats, mode: str) -> tuple[float, float]:
    """Return black and white: a usual range where nearly all finite values lie in one, else their own."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low = float(np.quantile(finite, _OUTLIERS, method="lower"))
    high = float(np.quantile(finite, 1 - _OUTLIERS, method="higher"))
    if mode == "F" and -1 - _SLACK <= low < -_SLACK and high <= 1 + _SLACK:
        return -1.0, 1.0
    for white in _RANGES[mode]:
        # Floats far below a range's white are of a range of their own, not black.
        dark = mode == "F" and white > 1 and high < white / 16
        if not dark and low >= -_SLACK * white and high <= (1 + _SLACK) * white:
            return 0.0, float(white)
    low = min(low, 0.0)
    return low, high if high > low else low + 1


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
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB"), None


def _to_srgb(image: Image.Image, info: dict[str | tuple[int, int], object]) -> tuple[Image.Image, str]:
    profile = info.get("icc_profile")
    if isinstance(profile, bytes) and profile:
        try:
            return _through_profile(image, profile)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError):
            return image.convert("RGB"), "" if image.mode != "CMYK" else "CMYK without its profile"
    gamma, primaries = info.get("gamma"), info.get("chromaticity")
    if "srgb" not in info and isinstance(gamma, float) and gamma > 0:
        return _through_gamma(image.convert("RGB"), gamma, primaries)
    return image.convert("RGB"), ""


_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}


def _through_profile(image: Image.Image, data: bytes) -> tuple[Image.Image, str]:
    profile = ImageCms.ImageCmsProfile(BytesIO(data))
    space = profile.profile.xcolor_space.strip()
    if image.mode == "L" and space == "RGB":
        image = image.convert("RGB")
    if _SPACES[image.mode] != space:
        return image.convert("RGB"), ""
    intent = ImageCms.Intent.PERCEPTUAL if space == "CMYK" else ImageCms.Intent.RELATIVE_COLORIMETRIC
    flags = ImageCms.Flags.NONE if space == "CMYK" else ImageCms.Flags.BLACKPOINTCOMPENSATION
    srgb = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(profile, srgb, image.mode, "RGB", intent, flags)
    if space != "CMYK" and _is_identity(transform, image.mode):
        return image.convert("RGB"), ""
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted, f"from the colours of {_profile_name(profile)}"


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return whether colours from all over the cube stay what they are, to rounding."""
    steps = np.linspace(0, 255, 7 if mode == "RGB" else 256).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3) if mode == "RGB" else steps[None]
    probe = Image.fromarray(cube)
    seen, before = ImageCms.applyTransform(probe, transform), probe.convert("RGB")
    assert seen is not None
    return int(np.abs(np.asarray(seen).astype(int) - np.asarray(before)).max()) <= _ALIKE


def _profile_name(profile: ImageCms.ImageCmsProfile) -> str:
    name = " ".join(str(profile.profile.profile_description or "").split())[:60]
    return name or "its profile"


def _through_gamma(image: Image.Image, gamma: float, primaries: object) -> tuple[Image.Image, str]:
    """PNG's gAMA and cHRM: a value v is (light)^gamma."""
    named = tuple(float(x) for x in primaries) if isinstance(primaries, tuple) else _SRGB_PRIMARIES
    other_primaries = len(named) == 8 and max(np.abs(np.subtract(named, _SRGB_PRIMARIES))) > 0.01
    if abs(gamma / _SRGB_GAMMA - 1) < 0.05 and not other_primaries:
        return image, ""
    light = (np.arange(256) / 255) ** (1 / gamma)
    if not other_primaries:
        table = _encode(light).tolist()
        return image.point(table * 3), f"from gamma {1 / gamma:.3g}"
    try:
        matrix = np.linalg.solve(_to_xyz(_SRGB_PRIMARIES), _to_xyz(named))
    except (np.linalg.LinAlgError, ZeroDivisionError):
        return image, ""
    linear = light[np.asarray(image)] @ matrix.T
    return Image.fromarray(_encode(linear)), f"from gamma {1 / gamma:.3g} and the primaries it names"


def _encode(light: Floats) -> NDArray[np.uint8]:
    """Return light in [0, 1], clipped, as sRGB's 8-bit levels."""
    light = light.clip(0, 1)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(255 * curve).astype(np.uint8))


def _to_xyz(primaries: tuple[float, ...]) -> Floats:
    """Return the matrix of linear RGB to XYZ, (3, 3), relative to the white point: white is (1, 1, 1)."""
    points = np.array(primaries).reshape(4, 2)
    xyz = np.stack([points[:, 0] / points[:, 1], np.ones(4), (1 - points.sum(1)) / points[:, 1]], 1)
    white, columns = xyz[0], xyz[1:].T
    return np.asarray(columns * np.linalg.solve(columns, white) / white[:, None])
