"""Tasks without labels: what a network makes of a reconstruction, beside what it makes of the original."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from PIL import Image

from onedpiece.evaluation.downstream.protocol import Example

Seen = TypeVar("Seen")


@dataclass
class MeanTally(Generic[Seen]):
    """The mean of a task's scores."""

    task: "AgainstOriginal[Seen]"
    scores: list[float] = field(default_factory=list)

    def add(self, example: Example, shown: Image.Image) -> None:
        """Score what the network makes of `shown`, which stands for the example."""
        self.scores.append(self.task.score(self.task.expected(example), self.task.predict(shown)))

    def value(self) -> float:
        """Return the mean over all that was added."""
        return float(np.mean(self.scores))


class AgainstOriginal(ABC, Generic[Seen]):
    """A task whose right answer is the network's own for the original.

    Args:
        processor: transformers' image processor.
        model: transformers' model.
    """

    measure: str
    square = False

    def __init__(self, processor: Any, model: Any) -> None:
        self.processor = processor
        self.model = model
        self._seen: dict[str, Seen] = {}

    @abstractmethod
    def predict(self, image: Image.Image) -> Seen:
        """Return what the network makes of one RGB picture."""

    @abstractmethod
    def score(self, expected: Seen, seen: Seen) -> float:
        """Return how one answer compares with the right one."""

    def tally(self) -> MeanTally[Seen]:
        """Return an empty tally."""
        return MeanTally(self)

    def expected(self, example: Example) -> Seen:
        """Return the answer that counts as right; worked out once for each photo."""
        if example.name not in self._seen:
            self._seen[example.name] = self.predict(example.image)
        return self._seen[example.name]
