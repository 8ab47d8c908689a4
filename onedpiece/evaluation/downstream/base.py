"""What a downstream task is: a network, and a tally of how well it does on the pictures that it is shown.

A task without labels holds what a network makes of a reconstruction beside what it makes of the original.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from PIL import Image

Seen = TypeVar("Seen")


def device_of(network: Any) -> torch.device:
    """Return where a network's weights are; the CPU for one without any."""
    return next((weight.device for weight in network.parameters()), torch.device("cpu"))


class Example(NamedTuple):
    """One photo of a task.

    Attributes:
        at: its place in the list, by which what was seen in it is found again; names may come twice.
        name: its file name, or its path below the folder that was named, by which labels are found.
        image: the original, RGB.
    """

    at: int
    name: str
    image: Image.Image


class Tally(Protocol):
    """Counts over one set of pictures."""

    def add(self, example: Example, shown: Image.Image) -> None:
        """Count what the network makes of `shown`, which stands for the example and has its size."""

    def value(self) -> float:
        """Return the task's measure over all that was added."""


class Task(Protocol):
    """A pretrained network and its measure."""

    @property
    def measure(self) -> str:
        """The measure's name, unit and direction, for a table's title."""

    @property
    def square(self) -> bool:
        """Whether photos are cropped to the model's square, as for classifiers; else they stay whole."""

    @property
    def labelled(self) -> bool:
        """Whether labels are found by a photo's name, which must then be of one photo only."""

    def tally(self) -> Tally:
        """Return an empty tally; every set of pictures gets its own."""


class Result(NamedTuple):
    """One row of the table.

    Attributes:
        codec: "original", our model's name, or a classical format's.
        tokens: how many ours holds; for a classical format, those of our file whose bytes it may use.
        bytes: mean size of the whole files; None for the originals, and where nothing was shown.
        photos: how many were shown; a format that fits none is shown none.
        value: the measure; None where nothing was shown.
    """

    codec: str
    tokens: int | None
    bytes: float | None
    photos: int
    value: float | None


@dataclass
class MeanTally(Generic[Seen]):
    """The mean of a task's scores."""

    task: "AgainstOriginal[Seen]"
    scores: list[float] = field(default_factory=list)

    def add(self, example: Example, shown: Image.Image) -> None:
        """Score what the network makes of `shown`, which stands for the example."""
        self.scores.append(self.task.score(self.task.of_original(example), self.task.predict(shown)))

    def value(self) -> float:
        """Return the mean over all that was added."""
        return float(np.mean(self.scores))


class OriginalAnswers(ABC, Generic[Seen]):
    """A network whose own answer for the original counts as right, where there is no label."""

    _answers: dict[int, Seen]

    @abstractmethod
    def predict(self, image: Image.Image) -> Seen:
        """Return what the network makes of one RGB picture."""

    def of_original(self, example: Example) -> Seen:
        """Return the answer for an example's original; worked out once, as every row comes back to it."""
        if example.at not in self._answers:
            self._answers[example.at] = self.predict(example.image)
        return self._answers[example.at]


class AgainstOriginal(OriginalAnswers[Seen]):
    """A task whose right answer is always the network's own for the original.

    Args:
        processor: transformers' image processor.
        model: transformers' model.
    """

    measure: str
    square = False
    labelled = False

    def __init__(self, processor: Any, model: Any) -> None:
        self.processor = processor
        self.model = model
        self._answers = {}

    @abstractmethod
    def score(self, expected: Seen, seen: Seen) -> float:
        """Return how one answer compares with the right one."""

    def tally(self) -> MeanTally[Seen]:
        """Return an empty tally."""
        return MeanTally(self)
