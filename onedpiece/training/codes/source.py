"""What a source of labelled photos is: keys, splits, and a way to load each."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

from onedpiece.heads import Task
from onedpiece.training.codes.sample import Target

TRAIN, VAL, TEST = "train", "val", "test"
"""The splits; only the first is ever trained on."""


class Labelled(NamedTuple):
    """A photo and what a head is to say of it.

    Attributes:
        image: RGB, any size.
        target: maps have the photo's size, boxes are shares of it.
    """

    image: Image.Image
    target: Target


class Example(NamedTuple):
    """A photo that can be loaded.

    Attributes:
        key: its name, unlike that of any other in its source.
        split: see TRAIN.
        load: reads it.
    """

    key: str
    split: str
    load: Callable[[], Labelled]


class Source(ABC):
    """Labelled photos, listed before any is read."""

    task: Task

    @property
    @abstractmethod
    def name(self) -> str:
        """What a cache of it says it holds."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers; none for depth."""

    @abstractmethod
    def examples(self) -> list[Example]:
        """List all photos of all splits, always in the same order.

        Raises:
            OSError, ValueError: the files are not there, or not as expected.
        """
