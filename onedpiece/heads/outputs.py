"""What heads return: tensors for a batch in training, plain results a photo in prediction."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import batched_nms, box_convert

from onedpiece.heads.config import HeadConfig

TOP = 5
"""How many classes a result names."""

MIN_SCORE = 0.05
"""Objects less sure than this are left out; precision-recall curves need the weak ones above it."""


SAME = 0.45
"""IoU above which two boxes of a class are one object: heads trained for minutes say things twice."""


class ClassLogits(NamedTuple):
    """Scores of classes: `logits` (B, C), before the softmax."""

    logits: Tensor


class MaskLogits(NamedTuple):
    """Scores of classes on a map: `logits` (B, C, H, W), before the softmax; H = W = grid · upsample."""

    logits: Tensor


class DepthMap(NamedTuple):
    """Distances: `meters` (B, 1, H, W), positive, in the unit of the targets; H = W = grid · upsample."""

    meters: Tensor


class Boxes(NamedTuple):
    """A set of Q objects.

    Attributes:
        logits: (B, Q, C + 1), before the softmax; the last class is "nothing".
        boxes: (B, Q, 4), centre and size as shares of the picture, (cx, cy, w, h) in [0, 1].
    """

    logits: Tensor
    boxes: Tensor


Output = ClassLogits | MaskLogits | DepthMap | Boxes


class ClassScores(NamedTuple):
    """The class of one photo.

    Attributes:
        label: the number of the likeliest class.
        name: its name.
        probability: its probability, in [0, 1].
        top: the five likeliest names with their probabilities, best first.
    """

    label: int
    name: str
    probability: float
    top: tuple[tuple[str, float], ...]


class Mask(NamedTuple):
    """The class of each pixel: `classes` (H, W) uint8."""

    classes: Tensor


class Depth(NamedTuple):
    """The distance of each pixel: `meters` (H, W) float32, in the unit of the training targets."""

    meters: Tensor


class Detections(NamedTuple):
    """The objects of one photo, best first.

    Attributes:
        boxes: (n, 4), left, top, right and bottom as shares of the photo, in [0, 1].
        labels: (n,) int64.
        scores: (n,), in [0, 1].
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor


Prediction = ClassScores | Mask | Depth | Detections


def to_predictions(output: Output, config: HeadConfig) -> list[Prediction]:
    """Return one result a photo; masks and depths at the size of the tokenizer's picture."""
    match output:
        case ClassLogits(logits):
            return [_scores(row, config.classes) for row in logits.softmax(dim=-1)]
        case MaskLogits(logits):
            return [Mask(mask) for mask in resize(logits, config.input_size).argmax(dim=1).byte()]
        case DepthMap(meters):
            return [Depth(depth) for depth in resize(meters, config.input_size)[:, 0]]
        case Boxes(logits, boxes):
            return [_detections(*pair) for pair in zip(logits.softmax(dim=-1), boxes, strict=True)]


def resize(values: Tensor, size: int) -> Tensor:
    """Bring (B, C, H, W) to (B, C, size, size), bilinearly."""
    return F.interpolate(values, (size, size), mode="bilinear", align_corners=False)


def _scores(probabilities: Tensor, names: tuple[str, ...]) -> ClassScores:
    values, labels = probabilities.topk(min(TOP, len(names)))
    top = tuple((names[i], p) for p, i in zip(values.tolist(), labels.tolist(), strict=True))
    return ClassScores(int(labels[0]), *top[0], top)


def _detections(probabilities: Tensor, boxes: Tensor) -> Detections:
    scores, labels = probabilities[:, :-1].max(dim=-1)
    order = scores.argsort(descending=True)
    order = order[scores[order] >= MIN_SCORE]
    corners = box_convert(boxes[order], "cxcywh", "xyxy").clamp(0, 1)
    kept = batched_nms(corners, scores[order], labels[order], SAME)
    order, corners = order[kept], corners[kept]
    return Detections(corners, labels[order], scores[order])
