"""A held-out classifier, one of no training loss: it tells whether pictures still show their class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onedpiece.errors import MissingExtraError
from onedpiece.evaluation.photos import CLASSES


class ClassifierScore(NamedTuple):
    """What a classifier says of one labelled picture.

    Attributes:
        top1: whether the true class is its first guess.
        top5: whether it is among its first five.
        probability: that of the true class, 0 to 1.
    """

    top1: bool
    top5: bool
    probability: float


class HeldOutClassifier:
    """A TFLite ImageNet classifier on raw 8-bit RGB pictures, one at a time on one core.

    Args:
        path: the model.

    Raises:
        MissingExtraError: ai-edge-litert is not installed.
        ValueError: no model can be read there, or it takes no (1, H, W, 3) 8-bit pictures.
    """

    def __init__(self, path: Path) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingExtraError(
                "a TFLite classifier needs an extra: pip install 'onedpiece[judge]'"
            ) from error
        try:
            self._interpreter: Any = Interpreter(str(path), num_threads=1)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        self._interpreter.allocate_tensors()
        taken = self._interpreter.get_input_details()[0]
        if taken["dtype"] is not np.uint8 or len(taken["shape"]) != 4 or taken["shape"][3] != 3:
            raise ValueError(
                f"{path} takes {taken['dtype'].__name__} {list(taken['shape'])}, not 8-bit RGB pictures"
            )
        given = self._interpreter.get_output_details()[0]
        self._input: int = taken["index"]
        self._output: int = given["index"]
        # Quantised outputs are (value - zero) · scale; floats have a scale of 0.
        self._scale, self._zero = given["quantization"]
        self._size = int(taken["shape"][2]), int(taken["shape"][1])

    def probabilities(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return the probability of each ImageNet class, (B, 1000), for RGB pictures of any size."""
        return np.stack([self._probabilities(image) for image in images])

    def classify(self, images: Sequence[Image.Image]) -> list[int]:
        """Return the ImageNet class index, 0 to 999, that each RGB picture most looks like."""
        return [int(number) for number in self.probabilities(images).argmax(axis=1)]

    def score(self, images: Sequence[Image.Image], labels: Sequence[int]) -> list[ClassifierScore]:
        """Return how well each RGB picture is seen to show its class.

        Args:
            images: RGB, any size.
            labels: one ImageNet class index a picture, 0 to 999.
        """
        if not images:
            return []
        return score_probabilities(self.probabilities(images), labels)

    def _probabilities(self, image: Image.Image) -> NDArray[np.float32]:
        pixels = np.asarray(image.convert("RGB").resize(self._size, Image.Resampling.BILINEAR))
        self._interpreter.set_tensor(self._input, pixels[None])
        self._interpreter.invoke()
        # 1001 outputs are a background class and then the thousand.
        values: NDArray[np.float32] = self._interpreter.get_tensor(self._output)[0][-CLASSES:].astype(
            np.float32
        )
        return np.float32(self._scale) * (values - np.float32(self._zero)) if self._scale else values


def score_probabilities(probabilities: NDArray[np.float32], labels: Sequence[int]) -> list[ClassifierScore]:
    """Return the score of each row of (B, classes) probabilities; of equal ones, the lower class goes first.

    A probability of 0 is no guess: quantised, most of a thousand classes have it.
    """
    own = probabilities[np.arange(len(labels)), list(labels)][:, None]
    lower = np.arange(probabilities.shape[1]) < np.asarray(labels)[:, None]
    ranks = ((probabilities > own) | ((probabilities == own) & lower)).sum(axis=1)
    return [
        ClassifierScore(bool(rank < 1 and p > 0), bool(rank < 5 and p > 0), float(p))
        for rank, p in zip(ranks, own[:, 0], strict=True)
    ]
