"""Which query answers for which object: the cheapest assignment, as DETR has it (arXiv 2005.12872, §3.1)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou

from onedpiece.training.codes import BoxTarget


@dataclass(frozen=True)
class BoxWeights:
    """What the parts of a box's cost and loss weigh; DETR's numbers."""

    label: float = 1.0
    corners: float = 5.0  # mean absolute difference of centre and size, summed over the four
    overlap: float = 2.0  # one minus the generalised IoU
    nothing: float = 0.1  # of queries that answer for no object: there are many times more of them


class Match(NamedTuple):
    """Pairs of one photo: `queries` and `objects`, (n,) int64 each."""

    queries: Tensor
    objects: Tensor


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, target: BoxTarget, weights: BoxWeights) -> Match:
    """Assign every object of one photo to a query of its own.

    Args:
        logits: (Q, C + 1).
        boxes: (Q, 4), cxcywh in [0, 1].
        target: n objects, n ≤ Q; of more, those that fit worst are left out.
        weights: of the parts of the cost.
    """
    if not len(target.labels):
        nothing = torch.zeros(0, dtype=torch.long)
        return Match(nothing, nothing)
    probabilities = logits.float().softmax(dim=-1)[:, target.labels]
    cost = (
        -weights.label * probabilities
        + weights.corners * torch.cdist(boxes.float(), _centred(target.boxes), p=1)
        - weights.overlap * overlaps(boxes, target.boxes)
    )
    queries, objects = linear_sum_assignment(cost.cpu().numpy())
    return Match(torch.from_numpy(queries).long(), torch.from_numpy(objects).long())


def overlaps(boxes: Tensor, corners: Tensor) -> Tensor:
    """Return the generalised IoU, (Q, n) in [-1, 1], of cxcywh boxes (Q, 4) with xyxy boxes (n, 4)."""
    out: Tensor = generalized_box_iou(box_convert(boxes.float(), "cxcywh", "xyxy"), corners)
    return out


def _centred(corners: Tensor) -> Tensor:
    out: Tensor = box_convert(corners, "xyxy", "cxcywh")
    return out


def box_loss(boxes: Tensor, corners: Tensor, weights: BoxWeights) -> Tensor:
    """Return the summed loss of n matched pairs: cxcywh boxes (n, 4) and xyxy targets (n, 4)."""
    apart = (boxes - _centred(corners)).abs().sum()
    missed = (1 - overlaps(boxes, corners).diagonal()).sum()
    return weights.corners * apart + weights.overlap * missed
