"""Overlays: the answer stands where it belongs, and the picture is still there."""

import numpy as np
import torch
from PIL import Image

from onedpiece.evaluation.overlay import colour_of, overlay
from onedpiece.heads import ClassScores, Depth, Detections, Mask

CLASSES = ("road", "sky")


def test_a_class_is_written_below(photo: Image.Image) -> None:
    scores = ClassScores(1, "sky", 0.9, (("sky", 0.9), ("road", 0.1)))
    drawn = overlay(photo, scores, CLASSES)
    assert drawn.width == photo.width
    assert drawn.height > photo.height
    assert np.array_equal(np.asarray(drawn)[: photo.height], np.asarray(photo))
    assert np.asarray(drawn)[photo.height :].max() > 200


def test_a_mask_is_stretched_and_coloured() -> None:
    black = Image.new("RGB", (40, 20))
    mask = torch.tensor([[0, 1], [0, 1]], dtype=torch.uint8)
    drawn = np.asarray(overlay(black, Mask(mask), CLASSES)).astype(int)[:20]
    for half, number in ((drawn[:, :20], 0), (drawn[:, 20:], 1)):
        # 0.55 of the class's colour on 0.45 of black, to within rounding
        assert np.abs(half - 0.55 * np.array(colour_of(number))).max() <= 2


def test_near_and_far_have_other_colours() -> None:
    drawn = overlay(Image.new("RGB", (40, 20)), Depth(torch.tensor([[1.0, 9.0]])), ())
    pixels = np.asarray(drawn)
    assert tuple(pixels[5, 0]) == (68, 1, 84)  # viridis starts and ends there
    assert tuple(pixels[5, 39]) == (253, 231, 36)


def test_sure_objects_have_a_frame_others_none() -> None:
    black = Image.new("RGB", (400, 100))
    boxes = torch.tensor([[0.1, 0.2, 0.5, 0.8], [0.6, 0.2, 0.9, 0.8]])
    found = Detections(boxes, torch.tensor([0, 1]), torch.tensor([0.9, 0.4]))
    pixels = np.asarray(overlay(black, found, CLASSES)).astype(int)
    assert pixels[60, 40].tolist() == list(colour_of(0))  # the left edge, 0.1 of 400
    assert pixels[60, 50:190].max() == 0
    assert pixels[:, 210:].max() == 0


def test_nothing_found_is_the_picture() -> None:
    black = Image.new("RGB", (100, 50))
    none = Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    assert np.asarray(overlay(black, none, CLASSES)).max() == 0
