"""Photos with masks: numbers, names, void, sizes, and photos on their side."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onedpiece.errors import DatasetError
from onedpiece.training.codes import MaskFolder

Put = Callable[..., Path]


def mask(*numbers: int, size: tuple[int, int] = (8, 6)) -> Image.Image:
    """Stripes of numbers, from left to right."""
    columns = np.array(numbers, np.uint8).repeat(size[0] // len(numbers))
    return Image.fromarray(np.tile(columns, (size[1], 1)))


def load(source: MaskFolder, key: str) -> torch.Tensor:
    (example,) = [each for each in source.examples() if each.key == key]
    image, target = example.load()
    assert isinstance(target, torch.Tensor)
    assert (target.dtype, target.shape) == (torch.uint8, (image.height, image.width))
    return target


def test_numbers_that_occur_become_classes(
    put: Put, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b", "no_mask"):
        put(f"images/{name}.jpg")
    put("masks/a.png", mask(0, 7, 255, 7))
    put("masks/b.png", mask(3, 3))
    put("masks/ghost.png", mask(9))
    source = MaskFolder(str(tmp_path))
    assert (source.task, source.classes) == ("segment", ("0", "3", "7"))
    assert load(source, "images/a.jpg")[0].tolist() == [0, 0, 2, 2, 255, 255, 2, 2]
    assert load(source, "images/b.jpg").unique().tolist() == [1]
    assert "1 photos without a mask: " in caplog.text
    assert sorted(each.split for each in source.examples()) == ["train", "val"]


def test_names_of_classes_txt(put: Put, tmp_path: Path) -> None:
    put("images/train/a.png")
    put("annotations/train/a.png", mask(0, 2))
    put("images/val/b.png")
    put("annotations/val/b.png", mask(2, 255))
    put("classes.txt", "sky\nroad\ncar\n")
    source = MaskFolder(str(tmp_path))
    assert source.classes == ("sky", "road", "car")
    assert load(source, "images/train/a.png").unique().tolist() == [0, 2]  # the numbers stay
    assert [each.split for each in source.examples()] == ["train", "val"]


def test_masks_beside_photos_of_palettes_and_greys(put: Put, tmp_path: Path) -> None:
    put("a.jpg")
    palette = mask(0, 1).convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0])
    put("a.png", palette)
    put("b.jpg")
    put("b.png", mask(0, 1).convert("RGB"))
    source = MaskFolder(str(tmp_path))
    assert [each.key for each in source.examples()] == ["a.jpg", "b.jpg"]
    for key in ("a.jpg", "b.jpg"):
        assert load(source, key)[0].tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize("drawn", ["stored", "upright"])
def test_a_photo_on_its_side(put: Put, tmp_path: Path, drawn: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8  # a quarter turn anticlockwise brings it upright
    image = Image.new("RGB", (8, 6))
    image.paste((255, 255, 255), (0, 0, 4, 3))
    image.save(tmp_path / "a.png", exif=exif)
    truth = Image.new("L", (8, 6))
    truth.paste(1, (0, 0, 4, 3))
    put("masks/a.png", truth if drawn == "stored" else truth.transpose(Image.Transpose.ROTATE_90))
    (example,) = MaskFolder(str(tmp_path)).examples()
    shown, target = example.load()
    assert shown.size == (6, 8)
    np.testing.assert_array_equal(np.asarray(shown)[..., 0] > 127, np.asarray(target) == 1)


def test_no_mask_is_read_for_the_stamp(put: Put, tmp_path: Path) -> None:
    put("images/a.jpg")
    path = put("masks/a.png", mask(0, 1))
    before = MaskFolder(str(tmp_path)).stamp
    path.write_bytes(b"no picture")
    assert MaskFolder(str(tmp_path)).stamp != before


@pytest.mark.parametrize(
    ("content", "names", "message"),
    [
        (mask(0, 1, size=(4, 6)), "", r"a\.png has 4x6 pixels and its photo .*a\.jpg 8x6; make both alike"),
        (mask(0, 255), "", "masks of 0, 255 alone; a segmenter tells two classes or more apart, and 255"),
        (mask(0, 5), "sky\nroad", r"a\.png has class 5, and there are 2 names, from 0 on: sky, road; 255 is"),
        (Image.new("RGB", (8, 6), (9, 200, 9)), "", r"a\.png is a picture of colours; a mask is one channel"),
        (Image.new("I;16", (8, 6), 300), "", "is a picture of colours"),
        ("no picture", "", r"a\.png is no mask: cannot identify"),
    ],
)
def test_what_is_no_mask(
    put: Put, tmp_path: Path, content: Image.Image | str, names: str, message: str
) -> None:
    put("images/a.jpg")
    path = put("masks/a.png", content)
    if isinstance(content, str):
        path.write_text(content)
    if names:
        put("classes.txt", names)
    with pytest.raises(DatasetError, match=message):
        MaskFolder(str(tmp_path)).examples()


def test_a_damaged_photo_is_no_reason_to_stop(put: Put, tmp_path: Path) -> None:
    for name in "ab":
        put(f"images/{name}.jpg")
        put(f"masks/{name}.png", mask(0, 1))
    (tmp_path / "images" / "a.jpg").write_bytes(b"no picture")
    assert len(MaskFolder(str(tmp_path)).examples()) == 2
