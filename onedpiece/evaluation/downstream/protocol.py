"""What a downstream task is: a network, and a tally of how well it does on the pictures that it is shown."""

from typing import NamedTuple, Protocol

from PIL import Image


class Example(NamedTuple):
    """One photo of a task.

    Attributes:
        name: its file name, by which labels are found.
        image: the original, RGB.
    """

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
