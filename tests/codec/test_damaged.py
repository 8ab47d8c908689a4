"""Files that are not whole, or claim what they cannot hold: read where the pixels are there, else refused."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from onedpiece.codec.images import read_converted, read_picture
from onedpiece.errors import PictureError


def stored(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


@pytest.mark.parametrize("file_format", ["bmp", "tga", "ppm", "sgi", "gif", "webp", "jpeg", "mpo", "qoi"])
def test_a_missing_last_byte_does_not_cost_the_pixels(photo: Image.Image, file_format: str) -> None:
    whole = stored(photo, file_format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = np.asarray(read_picture(io.BytesIO(whole[:-1]))).astype(int)
    expected = np.asarray(read_picture(io.BytesIO(whole))).astype(int)
    assert (np.abs(read - expected).max(axis=2) > 0).sum() <= 64  # the last pixel, or the last few


@pytest.mark.parametrize("name", [b"tEXt", b"iTXt", b"tIME", b"eXIf", b"iCCP", b"zzZz"])
def test_damaged_extras_of_a_png_do_not_cost_the_pixels(photo: Image.Image, name: bytes) -> None:
    data = stored(photo, "png")
    extra = struct.pack(">I", 5) + name + b"a\0bcd" + b"oops"  # where its checksum should be
    with pytest.warns(UserWarning, match="damaged or overlong metadata"):
        read = read_picture(io.BytesIO(data[:33] + extra + data[33:]))
    assert np.array_equal(np.asarray(read), np.asarray(photo))


def test_damaged_pixels_of_a_png_are_refused(photo: Image.Image) -> None:
    data = stored(photo, "png")
    with pytest.raises(PictureError, match="cannot be read"):
        read_picture(io.BytesIO(data[:300] + bytes(300) + data[600:]))


@pytest.mark.parametrize("progressive", [False, True])
def test_no_memory_is_taken_for_pixels_that_cannot_be_there(progressive: bool) -> None:
    data = bytearray(stored(Image.effect_noise((64, 64), 50), "jpeg", progressive=progressive))
    at = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 13_000, 13_000)
    with pytest.raises(PictureError, match=r"13000x13000 pixels are in no \d+ bytes"):
        read_picture(io.BytesIO(data))


def test_a_large_flat_picture_is_read() -> None:
    blank = stored(Image.new("L", (5500, 5000), 7), "png")
    assert read_picture(io.BytesIO(blank)).getpixel((5499, 4999)) == (7, 7, 7)


def test_a_program_is_not_run() -> None:
    with pytest.raises(PictureError, match="EPS files are programs"):
        read_picture(io.BytesIO(stored(Image.new("RGB", (4, 4)), "eps")))


def test_pillows_own_warnings_are_not_passed_on() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x09\0\xff\xff\xff"  # nine entries, and none there
    file = io.BytesIO(stored(Image.new("RGB", (3, 2)), "jpeg", exif=exif))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_picture(file).size == (3, 2)


def test_lab_is_a_colour_space_too() -> None:
    # L* = 53.59, a* = b* = 0 is sRGB's middle grey 128; Pillow stores L*·2.55 and a* + 128.
    lab = Image.new("LAB", (4, 4), (137, 128, 128))
    read = read_picture(io.BytesIO(stored(lab, "tiff")))
    assert np.abs(np.asarray(read).astype(int) - 128).max() <= 2


def test_strips_are_seamless(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    linear = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    pictures = [
        stored(photo.convert("RGBA").rotate(20), "png"),
        stored(Image.fromarray(np.asarray(photo.convert("L")).astype(np.float32) * 3), "tiff"),
        stored(photo, "png", icc_profile=linear),
        stored(photo.quantize(9), "gif", transparency=3),
    ]
    whole = [read_converted(io.BytesIO(data)) for data in pictures]
    monkeypatch.setattr("onedpiece.codec.images._STRIP", 7 * photo.width)
    for data, expected in zip(pictures, whole, strict=True):
        read = read_converted(io.BytesIO(data))
        assert read.conversions == expected.conversions
        assert np.array_equal(np.asarray(read.image), np.asarray(expected.image))


def test_installed_plugins_are_not_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    with pytest.raises(PictureError, match="damaged HEIC"):
        read_picture(io.BytesIO(b"\0\0\0\x18ftypheic\0\0\0\0"))
