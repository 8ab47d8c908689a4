import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onedpiece.errors import MissingFormatError
from onedpiece.evaluation import formats
from onedpiece.evaluation.formats import FORMATS, image_format

PILLOW_ONLY = ("jpeg", "webp", "avif", "jpeg2000")


def _or_skip(name: str) -> formats.Format:
    try:
        return image_format(name)
    except MissingFormatError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip_of_a_photo(name: str, photo: Image.Image) -> None:
    fmt = _or_skip(name)
    small = photo.resize((48, 48))
    lowest, highest = (fmt.encode(small, q) for q in (fmt.qualities[0], fmt.qualities[-1]))
    assert len(lowest) <= len(highest)
    decoded = fmt.decode(highest)
    assert decoded.mode == "RGB"
    # Even a placeholder has the photo's mean colour within 24 levels.
    mean, expected = (
        image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)) for image in (decoded, small)
    )
    assert all(abs(a - b) < 24 for a, b in zip(mean, expected, strict=True))


@pytest.mark.parametrize("name", PILLOW_ONLY)
def test_metadata_stays_out_of_the_file(name: str, photo: Image.Image) -> None:
    fmt = _or_skip(name)
    bare = photo.resize((32, 32))
    laden = bare.copy()
    laden.info.update(icc_profile=b"profile" * 500, exif=b"Exif\0\0" + bytes(500), comment=b"hello" * 100)
    quality = fmt.qualities[10]
    assert fmt.encode(laden, quality) == fmt.encode(bare, quality)


@pytest.mark.parametrize(("name", "expected"), [("webp", 46), ("jpeg", 284), ("avif", 306)])
def test_smallest_possible_file(name: str, expected: int) -> None:
    # Measured by the team for one pixel, at whatever quality: BASELINES.md; encoders differ by a few bytes.
    fmt = _or_skip(name)
    pixel = Image.new("RGB", (1, 1), (96, 120, 130))
    assert abs(min(len(fmt.encode(pixel, q)) for q in fmt.qualities[:3]) - expected) <= 4


def test_jpeg2000_leaves_its_encoders_name_out(photo: Image.Image) -> None:
    fmt = _or_skip("jpeg2000")
    plain = io.BytesIO()
    photo.save(plain, "JPEG2000", **formats._jpeg2000_options(50))
    trimmed = fmt.encode(photo, 50)
    assert b"OpenJPEG" in plain.getvalue()
    assert b"OpenJPEG" not in trimmed
    assert fmt.decode(trimmed).tobytes() == Image.open(io.BytesIO(plain.getvalue())).convert("RGB").tobytes()


def test_unknown_format() -> None:
    with pytest.raises(ValueError, match="no format 'heic'; there are: jpeg, webp"):
        image_format("heic")


@pytest.mark.parametrize("name", ["jxl", "blurhash", "thumbhash"])
def test_missing_package_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(module: str) -> None:
        raise ImportError(module)

    monkeypatch.setattr(formats, "import_module", refuse)
    with pytest.raises(
        MissingFormatError, match=rf"{name} needs an extra: pip install 'onedpiece\[formats\]'"
    ):
        image_format(name)


def test_missing_pillow_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats.features, "check", lambda _: False)
    with pytest.raises(MissingFormatError, match="Pillow has no avif"):
        image_format("avif")


@pytest.mark.parametrize("name", ["blurhash", "thumbhash"])
def test_placeholders_show_left_from_right(name: str) -> None:
    fmt = _or_skip(name)
    halves = Image.new("RGB", (64, 64), (230, 230, 230))
    halves.paste((20, 20, 20), (0, 0, 32, 64))
    decoded = fmt.decode(fmt.encode(halves, fmt.qualities[-1])).convert("L")
    left, right = (
        decoded.crop(box).resize((1, 1), Image.Resampling.BOX) for box in ((4, 4, 20, 60), (44, 4, 60, 60))
    )
    assert left.getpixel((0, 0)) < 70
    assert right.getpixel((0, 0)) > 180


def test_thumbhash_of_a_photo_is_closer_than_its_mean_colour(data: Path) -> None:
    fmt = _or_skip("thumbhash")
    photo = np.asarray(Image.open(data / "astronaut.png").convert("RGB").resize((64, 64)), dtype=float)
    drawn = np.asarray(fmt.decode(fmt.encode(Image.fromarray(photo.astype(np.uint8)), 1)), dtype=float)
    flat = np.broadcast_to(photo.mean((0, 1)), photo.shape)
    assert ((drawn - photo) ** 2).mean() < 0.6 * ((flat - photo) ** 2).mean()
