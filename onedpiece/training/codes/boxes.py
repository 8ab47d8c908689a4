"""Boxes of other people's label files: clipped to the photo, turned upright along with it."""

from collections.abc import Sequence

import torch

from onedpiece.training.codes.base import BoxTarget

Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""

_TURNED = {5: (False, False), 6: (True, False), 7: (True, True), 8: (False, True)}
"""EXIF orientations that let width and height change places: whether x and y run backwards afterwards."""


def target_of(boxes: Sequence[Box], labels: Sequence[int]) -> BoxTarget:
    """Return the boxes as a target: clipped to the photo, without those of which nothing is left.

    Args:
        boxes: in shares of the photo; corners in any order.
        labels: the class of each.
    """
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4).clamp(0, 1)
    left_top = torch.minimum(corners[:, :2], corners[:, 2:])
    right_bottom = torch.maximum(corners[:, :2], corners[:, 2:])
    seen = (right_bottom > left_top).all(dim=1)
    numbers = torch.tensor(labels, dtype=torch.int64)
    return BoxTarget(torch.cat([left_top, right_bottom], dim=1)[seen], numbers[seen])


def turned(box: Box, orientation: int) -> Box:
    """Return where a box of the stored pixels lies in the upright photo; both in shares.

    Args:
        box: as a label says it.
        orientation: of EXIF, 5 to 8.
    """
    left, top, right, bottom = box
    backwards_x, backwards_y = _TURNED[orientation]
    # Columns become rows, and rows columns.
    xs = (1 - bottom, 1 - top) if backwards_x else (top, bottom)
    ys = (1 - right, 1 - left) if backwards_y else (left, right)
    return (xs[0], ys[0], xs[1], ys[1])
