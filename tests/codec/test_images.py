import io
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onedpiece.codec.images import read_converted, read_picture
from onedpiece.codec.tensors import Photo, no_larger, resize, to_rgb, to_tensor
from onedpiece.errors import PictureError
from onedpiece.metrics.pixel import image_psnr


def stored(image: Image.Image, file_format: str = "png", **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    file.seek(0)
    return file


def colour(image: Image.Image, at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    assert image.mode == "RGB"
    pixel = image.getpixel(at)
    assert isinstance(pixel, tuple)
    return tuple(int(value) for value in pixel)


def test_a_photo_comes_as_it_is(data: Path) -> None:
    path = data / "chelsea_451x300.png"
    expected = np.asarray(Image.open(path))
    assert read_picture(path).size == (451, 300)
    assert np.array_equal(np.asarray(read_picture(str(path))), expected)
    with path.open("rb") as file:
        assert np.array_equal(np.asarray(read_picture(file)), expected)


@pytest.mark.parametrize(
    ("orientation", "red_at"),
    [(1, (0, 0)), (2, (2, 0)), (3, (2, 1)), (4, (0, 1)), (5, (0, 0)), (6, (1, 0)), (7, (1, 2)), (8, (0, 2))],
)
def test_exif_orientation_is_applied(orientation: int, red_at: tuple[int, int]) -> None:
    # Stored 3 wide, 2 high, red top left; 6 asks for a quarter turn clockwise, which puts red top right.
    image = Image.new("RGB", (3, 2))
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = read_picture(stored(image, exif=exif))
    assert upright.size == ((3, 2) if orientation < 5 else (2, 3))
    assert colour(upright, red_at) == (255, 0, 0)


def test_damaged_exif_does_not_cost_the_picture() -> None:
    image = Image.new("RGB", (3, 2), (1, 2, 3))
    for exif in (b"garbage", b"Exif\0\0II*\0\xff\xff\xff"):
        assert colour(read_picture(stored(image, exif=exif))) == (1, 2, 3)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        # Half transparent on white: 0.5·c + 0.5·255, alpha 128 being 0.502: 200·0.502 + 255·0.498 = 227.4
        (Image.new("RGBA", (2, 2), (200, 0, 255, 128)), (227, 127, 255)),
        (Image.new("RGBA", (2, 2), (200, 0, 0, 0)), (255, 255, 255)),
        (Image.new("LA", (2, 2), (0, 128)), (127, 127, 127)),
        (Image.new("RGBA", (2, 2), (9, 8, 7, 0)).convert("PA"), (255, 255, 255)),
        (Image.new("L", (2, 2), 77), (77, 77, 77)),
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.new("RGB", (2, 2), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE), (10, 200, 30)),
        (Image.new("CMYK", (2, 2), (0, 255, 0, 0)), (255, 0, 255)),
        # 16 bits: 257 levels a step, to the nearest: 32896 / 257 = 128, 1000 / 257 = 3.9
        (Image.fromarray(np.full((2, 2), 32_896, np.uint16)), (128, 128, 128)),
        (Image.fromarray(np.full((2, 2), 1_000, np.uint16)), (4, 4, 4)),
        (Image.fromarray(np.full((2, 2), 65_535, np.uint16)), (255, 255, 255)),
        (Image.fromarray(np.full((2, 2), 32_896, np.int32)), (128, 128, 128)),
        (Image.fromarray(np.full((2, 2), 0.5, np.float32)), (128, 128, 128)),
        (Image.fromarray(np.full((2, 2), 128.0, np.float32)), (128, 128, 128)),
        (Image.fromarray(np.full((2, 2), np.nan, np.float32)), (0, 0, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
def test_every_mode_becomes_rgb(image: Image.Image, expected: tuple[int, ...]) -> None:
    assert colour(to_rgb(image)) == expected


def test_values_beyond_16_bits_are_scaled_not_clipped() -> None:
    ramp = Image.fromarray(np.array([[-10, 0, 100_000, 200_000]], np.int32))
    # Shifted by 10 and divided by 200010 / 255: 0, 0.01, 127.5, 255
    assert [colour(to_rgb(ramp), (x, 0))[0] for x in range(4)] == [0, 0, 128, 255]


def test_16_bit_files_keep_their_range() -> None:
    ramp = Image.fromarray(np.linspace(0, 65_535, 256).round().astype(np.uint16)[None])
    for file_format in ("png", "tiff", "ppm"):
        pixels = np.asarray(read_picture(stored(ramp, file_format)))
        assert np.array_equal(pixels[0, :, 0], np.arange(256))


def test_palette_transparency_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    upright = read_picture(stored(image, transparency=0))
    assert (colour(upright, (0, 0)), colour(upright, (1, 0))) == ((255, 255, 255), (0, 0, 255))


def test_rgb_with_a_transparent_colour_is_white_there() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    upright = read_picture(stored(image, transparency=(1, 2, 3)))
    assert (colour(upright, (0, 0)), colour(upright, (1, 0))) == ((255, 255, 255), (9, 9, 9))


@pytest.mark.parametrize("file_format", ["gif", "png", "webp"])
def test_the_first_frame_of_an_animation(file_format: str) -> None:
    frames = [Image.new("RGB", (4, 4), c) for c in ((255, 0, 0), (0, 255, 0))]
    options = {"lossless": True} if file_format == "webp" else {}
    file = stored(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    assert colour(read_picture(file)) == (255, 0, 0)


def _huge_png() -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        from zlib import crc32

        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a picture that Pillow can read"),
        (b"hello, I am a text", "not a picture that Pillow can read"),
        (_huge_png(), "too large"),
        (stored(Image.effect_noise((64, 64), 50)).getvalue()[:400], "cannot be read"),
    ],
    ids=["empty", "text", "bomb", "truncated"],
)
def test_what_is_no_picture_has_one_clear_error(content: bytes, message: str) -> None:
    with pytest.raises(PictureError, match=message) as caught:
        read_picture(io.BytesIO(content))
    assert "\n" not in str(caught.value)


def test_sizes_that_no_file_could_state_are_refused() -> None:
    with pytest.raises(PictureError, match="65536x1 pixels"):
        to_rgb(Image.new("1", (65_536, 1)))
    with pytest.raises(PictureError, match="0x3 pixels"):
        to_rgb(Image.new("RGB", (0, 3)))


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "none.png")


def test_a_pipe_is_a_file_too(tmp_path: Path, data: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as aside:
        aside.submit((tmp_path / "pipe").write_bytes, (data / "chelsea.png").read_bytes())
        assert read_picture(tmp_path / "pipe") == read_picture(data / "chelsea.png")


def test_resize_squeezes_the_whole_picture_without_aliases() -> None:
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (8, 512))).convert("RGB")
    grey = np.asarray(resize(stripes, (64, 64)))
    assert grey.shape == (64, 64, 3)
    assert np.abs(grey.astype(int) - 127.5)[:, 2:-2].max() <= 1  # single-pixel stripes average out
    assert resize(stripes, stripes.size) is stripes


def test_psnr_of_a_known_difference() -> None:
    # One channel of three off by 10 everywhere: MSE = 100 / 3, 10·log10(65025 / 33.33) = 32.90 dB
    one, other = Image.new("RGB", (4, 4), (50, 60, 70)), Image.new("RGB", (4, 4), (50, 70, 70))
    assert image_psnr(one, other) == pytest.approx(32.902, abs=1e-3)
    assert image_psnr(one, one) == float("inf")


def test_psnr_agrees_with_its_definition(photo: Image.Image) -> None:
    other = resize(resize(photo, (40, 40)), photo.size)
    error = np.square(np.asarray(photo, float) - np.asarray(other, float)).mean()
    assert image_psnr(photo, other) == pytest.approx(10 * np.log10(255**2 / error), abs=1e-9)


@pytest.mark.parametrize("size", [(451, 300), (256, 300), (257, 256), (2501, 1900), (1600, 2700)])
def test_psnr_of_a_smaller_picture_is_that_of_it_scaled_up(size: tuple[int, int], photo: Image.Image) -> None:
    large, small = resize(photo, size), resize(resize(photo, (24, 24)), (256, 256))
    expected = image_psnr(large, resize(small, size))
    assert image_psnr(large, small) == pytest.approx(expected, abs=1e-5 if min(size) > 1000 else 0)


def test_psnr_of_a_smaller_picture_cuts_what_scaling_overshoots() -> None:
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, 32:], half[40:] = 255, 255
    small, large = Image.fromarray(half), Image.fromarray(half).resize((2500, 1900), Image.Resampling.NEAREST)
    assert image_psnr(large, small) == pytest.approx(image_psnr(large, resize(small, large.size)), abs=1e-4)
    flat = Image.new("RGB", (64, 64), (255, 7, 0))
    assert image_psnr(flat.resize((2500, 1900)), flat) == float("inf")


def test_only_what_is_larger_than_the_photo_is_resized_to_score_it(photo: Image.Image) -> None:
    assert no_larger(photo, (photo.width, photo.height + 1)) is photo
    assert no_larger(photo, (photo.width - 1, 2 * photo.height)).size == (photo.width - 1, 2 * photo.height)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("wanted", "divisor"), [(256, 1), (100, 2), (60, 4), (20, 8), (None, 1)])
def test_a_large_jpeg_is_decoded_smaller_where_a_small_square_is_wanted(
    wanted: int | None, divisor: int, orientation: int, photo: Image.Image
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = stored(photo.resize((1001, 760)), "jpeg", quality=95, exif=exif)
    whole, read = read_converted(file), read_converted(file, wanted)
    expected = (-(-1001 // divisor), 760 // divisor)
    assert read.image.size == (expected if orientation == 1 else expected[::-1])
    assert (read.size or read.image.size) == whole.image.size
    side = (wanted or 256, wanted or 256)
    assert image_psnr(resize(whole.image, side), resize(read.image, side)) > 35
    assert read.image.info == whole.image.info == {}
    assert read.conversions == whole.conversions


def test_only_jpegs_are_decoded_smaller(photo: Image.Image) -> None:
    read = read_converted(stored(photo.resize((1001, 760))), 20)
    assert read.image.size == (1001, 760)
    assert read.size is None


@pytest.mark.parametrize("kind", ["image", "tensor"])
def test_what_the_model_sees_is_antialiased(kind: str) -> None:
    """White noise shrunk to a quarter: means of 16 values and more have a quarter of its deviation."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    image = Image.fromarray(noise)
    shrunk = Photo(image if kind == "image" else to_tensor([image])[0]).pixels(64)
    assert shrunk.shape == (3, 64, 64)
    assert float(shrunk.std()) < 0.3 * noise.std() / 255
    assert float(shrunk.mean()) == pytest.approx(noise.mean() / 255, abs=0.01)
