"""What heads are trained for, one function a task: outputs and targets to a scalar."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from onedpiece.heads import Boxes, ClassLogits, DepthMap, MaskLogits, Output
from onedpiece.training.codes import BoxTarget
from onedpiece.training.heads.matching import BoxWeights, box_loss, match


@dataclass(frozen=True)
class ObjectiveConfig:
    """The numbers of the losses; a task looks at its own."""

    smoothing: float = 0.1  # of labels; a few thousand photos are soon known by heart
    dice: float = 1.0  # of masks: weight of the overlap loss, which counts rare classes like common ones
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
            return F.cross_entropy(logits.float(), targets, label_smoothing=config.smoothing)
        case MaskLogits(logits):
            assert isinstance(targets, Tensor)
            return mask_loss(logits.float(), targets, config.dice)
        case DepthMap(meters):
            assert isinstance(targets, Tensor)
            return depth_loss(meters[:, 0], targets)
        case Boxes():
            assert isinstance(targets, list)
            return set_loss(output, targets, config.boxes)


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
    entropy = F.cross_entropy(logits, wanted, ignore_index=-100)
    if not dice:
        return entropy
    known = (wanted >= 0)[..., None]
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
