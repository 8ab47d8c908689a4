"""Boxes of label files: clipped, and turned as the reader turns the photo."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onedpiece.codec.images import read_picture
from onedpiece.training.codes.boxes import target_of, turned


def test_boxes_are_clipped_to_the_photo() -> None:
    target = target_of([(-0.2, 0.5, 0.3, 1.4), (1.1, 0.0, 1.5, 0.5), (0.6, 0.8, 0.2, 0.4)], [0, 1, 2])
    # The second lies outside, the third has its corners the wrong way round.
    torch.testing.assert_close(target.boxes, torch.tensor([[0.0, 0.5, 0.3, 1.0], [0.2, 0.4, 0.6, 0.8]]))
    assert target.labels.tolist() == [0, 2]


def test_no_box_is_no_box() -> None:
    target = target_of([], [])
    assert (target.boxes.shape, target.labels.dtype) == ((0, 4), torch.int64)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_turn_with_the_photo(orientation: int, tmp_path: Path) -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[4:12, 16:48] = 255  # left 0.2, top 0.1, right 0.6, bottom 0.3 as stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    upright = np.asarray(read_picture(tmp_path / "a.png"))[..., 0]
    assert upright.shape == (80, 40)
    left, top, right, bottom = turned((0.2, 0.1, 0.6, 0.3), orientation)
    rows, columns = np.nonzero(upright)
    seen = (columns.min() / 40, rows.min() / 80, (columns.max() + 1) / 40, (rows.max() + 1) / 80)
    assert (left, top, right, bottom) == pytest.approx(seen)
