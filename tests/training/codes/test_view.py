"""Views: what a crop or a mirror does to a picture, it does to the target."""

import numpy as np
import pytest
import torch
from PIL import Image

from onedpiece.codec.view import PLAIN, View, apply_view
from onedpiece.training.codes.base import BoxTarget
from onedpiece.training.codes.view import apply_view_to_target

RIGHT_HALF = View((0.5, 0.0, 1.0, 1.0), flip=False)


def test_a_picture_and_its_mask_are_shown_alike() -> None:
    values = np.arange(8 * 12, dtype=np.uint8).reshape(8, 12)
    view = View((0.25, 0.5, 0.75, 1.0), flip=True)  # of 12x8: columns 3 to 8, rows 4 to 7, mirrored
    shown = np.asarray(apply_view(Image.fromarray(values), view))
    np.testing.assert_array_equal(shown, values[4:8, 3:9][:, ::-1])
    mask = apply_view_to_target(torch.from_numpy(values.copy()), view, 12)
    assert isinstance(mask, torch.Tensor)
    # 6x4 to 12x12: every column twice, every row three times
    np.testing.assert_array_equal(mask.numpy(), shown.repeat(3, 0).repeat(2, 1))


def test_depths_are_averaged_masks_are_not() -> None:
    checks = torch.tensor([[0, 10], [10, 0]], dtype=torch.uint8)
    mask = apply_view_to_target(checks, PLAIN, 1)
    depth = apply_view_to_target(checks.float(), PLAIN, 1)
    assert isinstance(mask, torch.Tensor)
    assert isinstance(depth, torch.Tensor)
    assert mask.item() in (0, 10)
    assert depth.item() == pytest.approx(5)


def test_a_class_stays() -> None:
    target = apply_view_to_target(torch.tensor(7), View((0.1, 0.1, 0.6, 0.6), True), 256)
    assert isinstance(target, torch.Tensor)
    assert target.item() == 7


def test_boxes_go_along() -> None:
    boxes = torch.tensor([[0.6, 0.2, 0.8, 0.4], [0.0, 0.0, 0.2, 1.0], [0.4, 0.0, 0.7, 0.5]])
    target = BoxTarget(boxes, torch.tensor([1, 2, 3]))
    shown = apply_view_to_target(target, RIGHT_HALF, 256)
    assert isinstance(shown, BoxTarget)
    # x' = (x - 0.5) / 0.5; the second box is out, two thirds of the third are in: (0.7 - 0.5) / 0.3
    assert shown.labels.tolist() == [1, 3]
    torch.testing.assert_close(shown.boxes, torch.tensor([[0.2, 0.2, 0.6, 0.4], [0.0, 0.0, 0.4, 0.5]]))
    mirrored = apply_view_to_target(target, RIGHT_HALF._replace(flip=True), 256)
    assert isinstance(mirrored, BoxTarget)
    torch.testing.assert_close(mirrored.boxes, torch.tensor([[0.4, 0.2, 0.8, 0.4], [0.6, 0.0, 1.0, 0.5]]))


def test_no_boxes_stay_no_boxes() -> None:
    none = BoxTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    shown = apply_view_to_target(none, View(flip=True), 256)
    assert isinstance(shown, BoxTarget)
    assert shown.boxes.shape == (0, 4)
