"""Imagenette: ten classes of ImageNet, in tars to train on and folders to test on."""

from functools import partial
from io import BytesIO
from pathlib import Path

import torch

from onedpiece.pictures import read_picture
from onedpiece.training.codes.source import TEST, TRAIN, Example, Labelled, Source
from onedpiece.training.data.members import Member, folder_members, read, tar_members
from onedpiece.training.retokenize_data import read_labels

CLASSES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
"""By WordNet id, in the order of the class numbers."""


class Imagenette(Source):
    """The labelled rows of a training index, and a folder of test photos for each WordNet id.

    Args:
        path: the training tars' folder.
        index: labels their keys (see `read_labels`).
        test_path: the test folders.
    """

    task = "classify"
    name = "imagenette"
    classes = tuple(CLASSES.values())

    def __init__(
        self,
        path: str = "../shared/data/train",
        index: str = "../shared/data/train/index.tsv",
        test_path: str = "../shared/data/downstream/imagenette_val",
    ) -> None:
        self.path, self.index, self.test_path = path, index, test_path

    def examples(self) -> list[Example]:
        """List the photos.

        Raises:
            OSError: the files are not there.
            ValueError: the index labels nothing, or there is a class that Imagenette does not have.
        """
        labels = read_labels(self.index)
        train = [(member, labels[member.key]) for member in tar_members(self.path) if member.key in labels]
        test = [(member, Path(member.key).parts[0]) for member in folder_members(self.test_path)]
        return [
            Example(member.key, split, partial(_load, member, _number(label, member)))
            for split, members in ((TRAIN, train), (TEST, test))
            for member, label in members
        ]


def _number(label: str, member: Member) -> int:
    if label not in CLASSES:
        raise ValueError(f"{member.key} has label {label!r}; Imagenette has {', '.join(CLASSES)}")
    return list(CLASSES).index(label)


def _load(member: Member, number: int) -> Labelled:
    return Labelled(read_picture(BytesIO(read(member))), torch.tensor(number))
