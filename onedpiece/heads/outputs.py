"""What heads say: tensors for a batch while they learn, plain results for a photo when they are asked."""

from typing import NamedTuple

from torch import Tensor


class ClassLogits(NamedTuple):
    """Scores of classes: `logits` (B, C), before the softmax."""

    logits: Tensor


class MaskLogits(NamedTuple):
    """Scores of classes at places: `logits` (B, C, H, W), before the softmax; H = W = grid · upsample."""

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
