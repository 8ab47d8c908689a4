"""Classification: the share of pictures whose class a network gets right."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import Image

from onedpiece.evaluation.downstream.networks import Pretrained, run_one
from onedpiece.evaluation.downstream.protocol import Example


@dataclass
class _Tally:
    task: "Classify"
    right: int = 0
    shown: int = 0

    def add(self, example: Example, shown: Image.Image) -> None:
        self.shown += 1
        self.right += self.task.predict(shown) == self.task.expected(example)

    def value(self) -> float:
        return 100 * self.right / self.shown


@dataclass
class Classify:
    """Top-1 of an ImageNet classifier; without labels, agreement with what it says of the original.

    Args:
        pretrained: the classifier.
        labels: class index by file name.
    """

    pretrained: Pretrained
    labels: Mapping[str, int] | None = None
    square: bool = True
    _said: dict[str, int] = field(
        default_factory=dict, repr=False
    )  # of originals, which come back for every row

    @property
    def measure(self) -> str:
        """The measure's name."""
        return "top-1, %" if self.labels is not None else "same class as the original, %"

    def tally(self) -> _Tally:
        """Return an empty tally."""
        return _Tally(self)

    def predict(self, image: Image.Image) -> int:
        """Return the class index of one RGB picture."""
        return int(run_one(self.pretrained, image).argmax())

    def expected(self, example: Example) -> int:
        """Return the class that counts as right.

        Raises:
            ValueError: there are labels, but none for this file.
        """
        if self.labels is None:
            if example.name not in self._said:
                self._said[example.name] = self.predict(example.image)
            return self._said[example.name]
        if example.name not in self.labels:
            raise ValueError(f"the labels have no line for {example.name}")
        return self.labels[example.name]
