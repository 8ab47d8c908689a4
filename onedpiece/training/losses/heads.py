"""What heads are trained for, one function a task: outputs and targets to a scalar.

Queries are matched to objects by the cheapest assignment, as DETR has it (arXiv 2005.12872, §3.1); mixup on
code vectors (arXiv 1710.09412) blends two photos and their classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_convert, generalized_box_iou

from onedpiece.heads import Boxes, ClassLogits, DepthMap, Head, MaskLogits, Output
from onedpiece.training.codes import BoxTarget, CodeSamples


@dataclass(frozen=True)
class BoxWeights:
    """What the parts of a box's cost and loss weigh; DETR's numbers.

    Attributes:
        label: its class.
        corners: mean absolute difference of centre and size, summed over the four.
        overlap: one minus the generalised IoU.
        nothing: queries that answer for no object: there are many times more of them.
    """

    label: float = 1.0
    corners: float = 5.0
    overlap: float = 2.0
    nothing: float = 0.1


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


@dataclass(frozen=True)
class ObjectiveConfig:
    """The numbers of the losses; a task looks at its own.

    Attributes:
        smoothing: of labels; a few thousand photos are soon known by heart.
        dice: of masks: weight of the overlap loss, which counts rare classes like common ones.
        boxes: of detection: what the parts of a box's loss weigh.
    """

    smoothing: float = 0.1
    dice: float = 1.0
    boxes: BoxWeights = field(default_factory=BoxWeights)


def head_loss(output: Output, targets: Tensor | list[BoxTarget], config: ObjectiveConfig) -> Tensor:
    """Return the scalar loss of a batch.

    Args:
        output: of a head.
        targets: as `CodeSamples` has them for the head's task.
        config: the numbers.
    """
    match output:
        case ClassLogits(logits):
            assert isinstance(targets, Tensor)
            return class_loss(logits.float(), targets, config.smoothing)
        case MaskLogits(logits):
            assert isinstance(targets, Tensor)
            return mask_loss(logits.float(), targets, config.dice)
        case DepthMap(meters):
            assert isinstance(targets, Tensor)
            return depth_loss(meters[:, 0], targets)
        case Boxes():
            assert isinstance(targets, list)
            return set_loss(output, targets, config.boxes)


def class_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Return the cross-entropy.

    Args:
        logits: (B, C).
        targets: (B,) numbers of classes, which are smoothed; or (B, C), a teacher's probabilities.
        smoothing: part of a label that all classes share.
    """
    if targets.ndim == 1:
        return F.cross_entropy(logits, targets, label_smoothing=smoothing)
    return F.cross_entropy(logits, targets.float())


def coarse(targets: Tensor, size: int) -> Tensor:
    """Return (B, size, size) of dense targets (B, H, W): the value in each cell's middle, not a mean."""
    return F.interpolate(targets[:, None].float(), (size, size), mode="nearest-exact")[:, 0]


def mask_loss(logits: Tensor, targets: Tensor, dice: float) -> Tensor:
    """Return cross-entropy plus `dice` times the overlap loss.

    Args:
        logits: (B, C, h, w).
        targets: (B, H, W) integers; C and above is void and counts for nothing.
        dice: weight.

    Source: the overlap is V-Net's (arXiv 1606.04797), one term for each class that the batch has.
    """
    classes = logits.shape[1]
    wanted = coarse(targets, logits.shape[-1]).long()
    wanted = torch.where(wanted < classes, wanted, -100)
    known = (wanted >= 0)[..., None]
    entropy = F.cross_entropy(logits, wanted, ignore_index=-100, reduction="sum") / known.sum().clamp_min(1)
    if not dice:
        return entropy
    truth = F.one_hot(wanted.clamp_min(0), classes) * known
    guess = logits.softmax(dim=1).permute(0, 2, 3, 1) * known
    both, either = (guess * truth).sum((0, 1, 2)), (guess + truth).sum((0, 1, 2))
    occurs = truth.sum((0, 1, 2)) > 0
    overlap = (2 * both / either.clamp_min(1))[occurs].mean() if bool(occurs.any()) else both.sum() + 1
    return entropy + dice * (1 - overlap)


def depth_loss(meters: Tensor, targets: Tensor) -> Tensor:
    """Return the mean absolute difference of logarithms, a share of the distance while small.

    Args:
        meters: (B, h, w), positive.
        targets: (B, H, W); 0 and below is unknown and counts for nothing.
    """
    wanted = coarse(targets, meters.shape[-1])
    known = wanted > 0
    apart = (meters.float().log() - wanted.clamp_min(1e-6).log()).abs() * known
    return apart.sum() / known.sum().clamp_min(1)


def set_loss(output: Boxes, targets: Sequence[BoxTarget], weights: BoxWeights) -> Tensor:
    """Return DETR's loss: classes of all queries, places of those that answer for an object."""
    classes = output.logits.shape[-1]
    pairs = [
        match(logits, boxes, target, weights)
        for logits, boxes, target in zip(output.logits, output.boxes, targets, strict=True)
    ]
    rows = torch.cat([torch.full_like(pair.queries, row) for row, pair in enumerate(pairs)])
    queries = torch.cat([pair.queries for pair in pairs])
    labels = torch.cat([t.labels[pair.objects] for t, pair in zip(targets, pairs, strict=True)])
    corners = torch.cat([t.boxes[pair.objects] for t, pair in zip(targets, pairs, strict=True)])
    wanted = torch.full(output.logits.shape[:2], classes - 1, device=output.logits.device)
    wanted[rows, queries] = labels
    balance = torch.ones(classes, device=wanted.device)
    balance[-1] = weights.nothing
    entropy = F.cross_entropy(output.logits.float().flatten(0, 1), wanted.flatten(), balance)
    places = box_loss(output.boxes[rows, queries], corners, weights)
    return weights.label * entropy + places / max(1, len(labels))


class Mix(NamedTuple):
    """How a batch is blended with itself.

    Attributes:
        weight: of each sample, in [0, 1); the rest is its partner's.
        partner: (B,) int64, a permutation.
    """

    weight: float
    partner: Tensor


def draw_mix(batch: int, probability: float, generator: torch.Generator) -> Mix | None:
    """Draw a blend with uniform weight, or with probability 1 − `probability` none."""
    chance, weight = torch.rand(2, generator=generator).tolist()
    partner = torch.randperm(batch, generator=generator)
    return Mix(weight, partner) if chance < probability else None


def mixed_loss(head: Head, samples: CodeSamples, mix: Mix, config: ObjectiveConfig) -> Tensor:
    """Return the loss of a classifier on blended photos.

    With a linear path a code vector is about linear in the picture: blending vectors blends pictures.

    Args:
        head: a classifier.
        samples: codes of one length.
        mix: the blend.
        config: of the loss.
    """
    assert isinstance(samples.targets, Tensor)
    codes = head.backbone.codebook(samples.indices)
    output = head.read(torch.lerp(codes[mix.partner], codes, mix.weight))
    own = head_loss(output, samples.targets, config)
    others = head_loss(output, samples.targets[mix.partner], config)
    return mix.weight * own + (1 - mix.weight) * others
