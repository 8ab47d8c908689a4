"""Orientation and size of the formats that have their own: HEIC and JPEG XL."""

import io
import warnings
from pathlib import Path

import pytest
from PIL import Image

from onedpiece.codec.boxes import read_jxl_header
from onedpiece.codec.images import ORIENTATION, read_converted, read_picture, register_plugins
from onedpiece.errors import PictureError


def exif(orientation: int) -> bytes:
    found = Image.Exif()
    found[ORIENTATION] = orientation
    return found.tobytes()


def corner() -> Image.Image:
    """64 wide, 32 high, blue with a red corner top left: orientation 6 brings that to the top right."""
    image = Image.new("RGB", (64, 32), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 16, 16))
    return image


def stored(image: Image.Image, file_format: str, **options: object) -> bytes:
    register_plugins()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.save(file, file_format, **options)
    return file.getvalue()


def is_upright(data: bytes) -> bool:
    upright = read_picture(io.BytesIO(data))
    return upright.size == (32, 64) and upright.getpixel((28, 3))[0] > 200  # type: ignore[index]


def test_heic_is_turned_once() -> None:
    pytest.importorskip("pillow_heif")
    turned = stored(corner(), "HEIF", exif=exif(6))  # the plugin writes a box that turns
    assert b"irot" in turned
    assert is_upright(turned)
    # Without that box (a name that no decoder knows) only EXIF is left to say it.
    assert is_upright(turned.replace(b"irot", b"free"))


def test_jxl_is_turned_once(tmp_path: Path) -> None:
    pytest.importorskip("pillow_jxl")
    assert is_upright(stored(corner(), "JXL", exif=exif(6)))
    (tmp_path / "a.jpg").write_bytes(stored(corner(), "JPEG", exif=exif(6), quality=95))
    with Image.open(tmp_path / "a.jpg") as jpeg:
        whole = stored(jpeg, "JXL", lossless_jpeg=True)  # the JPEG itself, which comes back unturned
    assert b"jbrd" in whole
    assert is_upright(whole)


def test_heic_and_jxl_look_as_their_original(photo: Image.Image) -> None:
    for module, file_format in (("pillow_heif", "HEIF"), ("pillow_jxl", "JXL")):
        pytest.importorskip(module)
        read = read_converted(io.BytesIO(stored(photo, file_format, quality=95)))
        assert read.conversions == ()
        difference = Image.blend(read.image, photo, 0.5)  # as large, in the same mode
        assert difference.size == photo.size


# Bits from the lowest: small 0; the selector 2, for 18 bits, and the height less 1; ratio 0; the width alike;
# all_default 0; extra_fields 1; the orientation less 1.
def header(height: int, width: int, orientation: int) -> bytes:
    fields = [(0, 1), (2, 2), (height - 1, 18), (0, 3), (2, 2), (width - 1, 18), (0, 1), (1, 1)]
    value, at = 0, 0
    for number, bits in [*fields, (orientation - 1, 3)]:
        value |= number << at
        at += bits
    return b"\xff\x0a" + value.to_bytes(30, "little")


def test_a_header_is_read() -> None:
    assert read_jxl_header(header(300, 451, 6)) == ((451, 300), 6)
    box = (8 + 32).to_bytes(4, "big") + b"jxlc" + header(300, 451, 6)
    assert read_jxl_header(b"\0\0\0\x0cJXL \r\n\x87\n" + box) == ((451, 300), 6)
    # small 1, height code 3 -> 32, ratio 7 -> 2:1
    assert read_jxl_header(b"\xff\x0a" + (1 | 3 << 1 | 7 << 6 | 1 << 9).to_bytes(30, "little")) == (
        (64, 32),
        1,
    )
    assert read_jxl_header(b"\xff\x0a") is None
    assert read_jxl_header(b"\0\0\0\x0cJXL \r\n\x87\n") is None


def test_its_real_header_is_read() -> None:
    pytest.importorskip("pillow_jxl")
    for size in ((64, 32), (451, 300), (1, 999), (256, 256), (640, 480)):
        found = read_jxl_header(stored(Image.new("RGB", size), "JXL"))
        assert found is not None
        assert found.size == size


def test_no_memory_is_taken_on_a_header_s_word() -> None:
    pytest.importorskip("pillow_jxl")
    with pytest.raises(PictureError, match=r"13000x13000 pixels are in no 32 bytes"):
        read_picture(io.BytesIO(header(13_000, 13_000, 1)))
