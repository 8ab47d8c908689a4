"""What a head is to say of a view of a photo: the photo's target, flipped and cropped along with it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from onedpiece.codec.view import View, pixel_box
from onedpiece.training.codes.base import BoxTarget, Target

_MIN_VISIBLE = 0.4  # share of a box that must lie in the crop for the object to count


def apply_view_to_target(target: Target, view: View, image_size: int) -> Target:
    """Return the target of a view that is resized to a square of `image_size` pixels.

    Args:
        target: of the whole photo; masks and depths at any size.
        view: the view.
        image_size: side of the model's pictures.
    """
    if isinstance(target, BoxTarget):
        return _view_boxes(target, view)
    return target if target.ndim == 0 else _view_map(target, view, image_size)


def _view_map(target: Tensor, view: View, image_size: int) -> Tensor:
    left, top, right, bottom = pixel_box(view.box, target.shape[1], target.shape[0])
    part = target[None, None, top:bottom, left:right]
    if target.dtype == torch.uint8:
        resized = F.interpolate(part, (image_size, image_size), mode="nearest-exact")
    else:
        resized = F.interpolate(part, (image_size, image_size), mode="bilinear", antialias=True)
    return (resized.flip(3) if view.flip else resized)[0, 0].contiguous()


def _view_boxes(target: BoxTarget, view: View) -> BoxTarget:
    left, top, right, bottom = view.box
    origin, extent = torch.tensor([left, top] * 2), torch.tensor([right - left, bottom - top] * 2)
    whole = (target.boxes - origin) / extent
    boxes = whole.clamp(0, 1)
    kept = _areas(boxes) >= _MIN_VISIBLE * _areas(whole)
    boxes = boxes[kept]
    if view.flip:
        boxes = boxes[:, [2, 1, 0, 3]] * torch.tensor([-1.0, 1, -1, 1]) + torch.tensor([1.0, 0, 1, 0])
    return BoxTarget(boxes, target.labels[kept])


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
