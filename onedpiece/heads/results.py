"""From a batch of outputs to one plain result for each photo."""

from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_convert

from onedpiece.heads.config import HeadConfig
from onedpiece.heads.outputs import (
    Boxes,
    ClassLogits,
    ClassScores,
    Depth,
    DepthMap,
    Detections,
    Mask,
    MaskLogits,
    Output,
    Prediction,
)

TOP = 5
"""How many classes a result names."""

MIN_SCORE = 0.05
"""Objects less sure than this are left out; precision-recall curves need the weak ones above it."""


def results(output: Output, config: HeadConfig) -> list[Prediction]:
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
    return Detections(corners, labels[order], scores[order])
