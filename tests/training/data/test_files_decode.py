from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onedpiece.training.data.files import Member, decode, square


def encoded(image: Image.Image, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_a_square_of_the_right_size_is_kept_exactly() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    out = square(encoded(Image.fromarray(pixels)), 8)
    assert out.shape == (3, 8, 8)
    assert np.array_equal(out.transpose(1, 2, 0), pixels)


def test_the_centre_is_cropped() -> None:
    wide = np.zeros((4, 12, 3), dtype=np.uint8)
    wide[:, 4:8] = 200  # the middle third
    assert (square(encoded(Image.fromarray(wide)), 4) == 200).all()


def test_grey_and_exif_orientation() -> None:
    grey = np.zeros((4, 4), dtype=np.uint8)
    grey[0] = 255  # the top row
    exif = Image.Exif()
    exif[0x0112] = 3  # the camera was upside down
    out = square(encoded(Image.fromarray(grey), exif=exif), 4)
    assert out[:, 3].tolist() == [[255] * 4] * 3
    assert out[:, 0].max() == 0


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"bad\.png.*remove it"):
        decode(Member("bad.png", path, 0, 10), 8)
