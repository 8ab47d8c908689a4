"""Colours, ranges and orientation: what a picture looks like, not what numbers it holds."""

import io
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from onedpiece.codec import images
from onedpiece.codec.images import read_converted, read_picture, to_rgb

GREY = np.full((64, 64), 0.5, np.float32)


def stored(image: Image.Image, file_format: str = "png", **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    file.seek(0)
    return file


def level(image: Image.Image) -> float:
    return float(np.asarray(image).mean())


def chunked(image: Image.Image, *chunks: tuple[bytes, bytes]) -> io.BytesIO:
    """A PNG with more chunks behind its header."""
    data = stored(image).getvalue()
    extra = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    return io.BytesIO(data[:33] + extra + data[33:])


@pytest.mark.parametrize("odd", [1.0001, 1.3, 40.0, -0.1, -1.0, float("inf"), float("-inf"), float("nan")])
def test_one_odd_value_does_not_decide_the_range(odd: float) -> None:
    for scale in (1, 255):
        values = GREY * scale
        values[0, 0] = odd * scale
        assert abs(level(to_rgb(Image.fromarray(values))) - 128) < 1


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 1), (0, 255), (0, 65_535), (0, 1000), (-3, 9)])
def test_every_range_comes_to_black_and_white(low: float, high: float) -> None:
    ramp = np.linspace(low, high, 64 * 64, dtype=np.float32).reshape(64, 64)
    pixels = np.asarray(to_rgb(Image.fromarray(ramp)))
    assert pixels.min() <= 1
    assert pixels.max() >= 254
    assert abs(pixels.mean() - 127.5) < 1


def test_premultiplied_alpha_is_on_white() -> None:
    image = Image.new("LA", (2, 2), (100, 128)).convert("La")
    # 100·128/255 + 255·127/255 = 177.2
    assert abs(level(to_rgb(image)) - 177) <= 1
    assert level(to_rgb(Image.new("RGBA", (2, 2), (0, 0, 0, 0)).convert("RGBa"))) == 255


def test_an_srgb_profile_changes_nothing(photo: Image.Image) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    read = read_converted(stored(photo, icc_profile=profile))
    assert np.array_equal(np.asarray(read.image), np.asarray(photo))
    assert read.conversions == ()


@pytest.mark.parametrize("profile", [b"junk", b"\0" * 200])
def test_a_damaged_profile_is_ignored(photo: Image.Image, profile: bytes) -> None:
    assert np.array_equal(np.asarray(read_picture(stored(photo, icc_profile=profile))), np.asarray(photo))


def test_a_profile_of_another_kind_is_ignored() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert level(read_picture(stored(Image.new("RGB", (4, 4), (9, 9, 9)), icc_profile=lab))) == 9


def test_linear_light_is_brought_to_srgb() -> None:
    # Half the light is level 188: 255·(1.055·0.5^(1/2.4) − 0.055) = 187.5
    linear = chunked(Image.new("RGB", (4, 4), (128, 128, 128)), (b"gAMA", struct.pack(">I", 100_000)))
    read = read_converted(linear)
    assert level(read.image) == 188
    assert read.conversions == ("from gamma 1",)


def test_usual_gamma_and_primaries_change_nothing(photo: Image.Image) -> None:
    usual = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    file = chunked(photo, (b"gAMA", struct.pack(">I", 45455)), (b"cHRM", usual))
    assert np.array_equal(np.asarray(read_picture(file)), np.asarray(photo))


def test_other_primaries_are_brought_to_srgb() -> None:
    # Display P3's green is outside sRGB, its greys are grey.
    p3 = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    image = Image.new("RGB", (2, 1), (0, 200, 0))
    image.putpixel((1, 0), (120, 120, 120))
    pixels = np.asarray(read_picture(chunked(image, (b"gAMA", struct.pack(">I", 45455)), (b"cHRM", p3))))
    assert pixels[0, 0, 0] == pixels[0, 0, 2] == 0
    assert pixels[0, 0, 1] > 200
    assert np.abs(pixels[0, 1].astype(int) - 120).max() <= 2


def test_orientation_is_read_from_its_tag_alone(shared: Path) -> None:
    read = read_converted(shared / "cases" / "exif6_bad_rational.jpg")
    assert read.image.size == (226, 150)
    assert "turned upright" in read.conversions


def test_damaged_metadata_is_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_picture(stored(Image.new("RGB", (3, 2)), exif=b"Exif\0\0II*\0\xff\xff\xff"))


def test_a_long_text_does_not_cost_the_pixels(photo: Image.Image) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * 3_000_000, zip=True)
    with pytest.warns(UserWarning, match="damaged or overlong metadata"):
        read = read_picture(stored(photo, pnginfo=text))
    assert np.array_equal(np.asarray(read), np.asarray(photo))


def test_a_jpeg_without_its_end_is_read(photo: Image.Image) -> None:
    whole = stored(photo, "jpeg", quality=90)
    cut = whole.getvalue()[:-2]
    with pytest.warns(UserWarning, match="ends early"):
        read_picture(io.BytesIO(cut))
    read = read_converted(io.BytesIO(cut))
    assert "ends early" in read.damage
    assert np.array_equal(np.asarray(read.image), np.asarray(read_picture(whole)))
    assert any("ends early" in note for note in read.conversions)


@pytest.mark.parametrize(
    ("head", "package"),
    [(b"\xff\x0a", "pillow-jxl-plugin"), (b"\0\0\0\x18ftypheic\0\0\0\0", "pillow-heif")],
)
def test_a_format_that_needs_a_package_names_it(
    head: bytes, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "open", _nothing)
    monkeypatch.setattr("onedpiece.codec.images.register_plugins", lambda: None)
    for module in ("pillow_jxl", "pillow_heif"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ValueError, match=f"pip install {package}"):
        read_picture(io.BytesIO(head))


def _nothing(_: object) -> Image.Image:
    from PIL import UnidentifiedImageError

    raise UnidentifiedImageError


def test_files_look_as_they_do_elsewhere(shared: Path) -> None:
    cases = shared / "cases"
    expected = np.asarray(Image.open(cases / "base.png").convert("RGB")).astype(float)
    limits = {"icc_p3.jpg": 1.8, "icc_adobe.jpg": 1.8, "icc_linear.png": 1.5, "icc_swapped.png": 1.0}
    for name, limit in limits.items():
        assert np.abs(np.asarray(read_picture(cases / name)) - expected).mean() <= limit, name


def test_a_photo_with_a_profile_of_srgb_is_copied_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    photo.info["icc_profile"] = profile
    monkeypatch.setattr(images, "_strips", lambda size: pytest.fail("it was converted in strips"))
    assert to_rgb(photo).tobytes() == photo.tobytes()
