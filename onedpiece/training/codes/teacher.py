"""Photos with the classes that a network of ImageNet sees in them: soft targets for a head to learn from.

Knowledge distillation (arXiv 1503.02531): a probability for every class says more of a photo than its label,
and is there for photos that nobody has labelled. The network looks at each view on its own, since a crop may
show something else than the photo (arXiv 2106.05237: a consistent teacher).
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from onedpiece.codec.images import read_picture
from onedpiece.codec.tensors import resize, to_tensor
from onedpiece.errors import MissingExtraError
from onedpiece.metrics.perceptual import EfficientNetClassifier
from onedpiece.training.codes.base import TEST, TRAIN, Example, Labelled, Source, Target
from onedpiece.training.data.files import Member, is_held_out, read, tar_members

SIDE = 224
"""Side of what EfficientNet-Lite0 was trained on, in pixels."""

Teacher = Callable[[Image.Image], Tensor]
"""An RGB picture to the probabilities of all classes, (C,) float32."""


def load_teacher(weights: str | Path) -> Teacher:
    """Return EfficientNet-Lite0 as a function of pictures, which it sees whole, squeezed to a square.

    Args:
        weights: the file that `tools/fetch_priors.py` writes.

    Raises:
        MissingWeightsError, MissingExtraError: as `EfficientNetClassifier`.
    """
    network = EfficientNetClassifier(Path(weights))

    def look(image: Image.Image) -> Tensor:
        with torch.inference_mode():
            seen: Tensor = network(to_tensor([resize(image, (SIDE, SIDE))]))[0].softmax(dim=0)
        return seen.clone()

    return look


def imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet-1k's classes in order, each unlike the others.

    Raises:
        MissingExtraError: timm, which knows them, is not installed; the message names the extra.
    """
    try:
        from timm.data.imagenet_info import ImageNetInfo
    except ImportError as error:
        raise MissingExtraError(
            "ImageNet's names need an extra: pip install 'onedpiece[retokenize]'"
        ) from error
    whole = [str(name) for name in ImageNetInfo().label_descriptions()]
    short = [name.partition(",")[0] for name in whole]
    names = [whole[i] if short.count(name) > 1 else name for i, name in enumerate(short)]
    return tuple(f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names))


class Unlabelled(Source):
    """WebDataset tars without labels, for a teacher to look at.

    Args:
        path: one tar, or a folder of them.
        test_share: share of the photos to test on, by the hash of their keys.
        limit: most photos to take, from the first on; None: all.
    """

    def __init__(self, path: str, test_share: float, limit: int | None) -> None:
        self.path, self.test_share, self.limit = path, test_share, limit

    @abstractmethod
    def label(self, image: Image.Image) -> Target | Callable[[Image.Image], Target]:
        """Return what the teacher says of a photo, or what it will say of a view."""

    def examples(self) -> list[Example]:
        """List the photos.

        Raises:
            FileNotFoundError: there is no tar.
        """
        return [
            Example(
                member.key,
                TEST if is_held_out(member.key, self.test_share) else TRAIN,
                partial(self._load, member),
            )
            for member in tar_members(self.path)[: self.limit]
        ]

    def _load(self, member: Member) -> Labelled:
        image = read_picture(BytesIO(read(member)))
        return Labelled(image, self.label(image))


class DistilledClasses(Unlabelled):
    """WebDataset tars without labels: what the teacher sees is what the head is to say.

    Args:
        path: one tar, or a folder of them.
        weights: the teacher's (see `load_teacher`).
        test_share: share of the photos to test on, by the hash of their keys.
        limit: most photos to take, from the first on; None: all.
    """

    task = "classify"
    name = "classes by EfficientNet-Lite0"

    def __init__(self, path: str, weights: str, test_share: float = 0.03, limit: int | None = None) -> None:
        super().__init__(path, test_share, limit)
        self.weights = weights

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """ImageNet's 1,000."""
        return imagenet_classes()

    @cached_property
    def teacher(self) -> Teacher:
        """The network, loaded when the first photo is."""
        return load_teacher(self.weights)

    def label(self, image: Image.Image) -> Teacher:
        """Return the teacher, which looks at each view."""
        return self.teacher


class TaughtClasses(Source):
    """Labelled photos whose training targets lie between the label and what the teacher sees.

    Photos to test on keep their labels.

    Args:
        source: the labelled photos; to classify.
        weights: the teacher's (see `load_teacher`).
        imagenet: for each class of the source, its number in ImageNet.
        share: the teacher's part of the target, in [0, 1].

    Raises:
        ValueError: on construction, the numbers do not fit the classes, or the share is out of range.
    """

    task = "classify"

    def __init__(self, source: Source, weights: str, imagenet: Sequence[int], share: float = 0.5) -> None:
        if source.task != "classify" or len(imagenet) != len(source.classes) or not 0 <= share <= 1:
            raise ValueError(
                f"a teacher of {source.name} needs the ImageNet number of each of its {len(source.classes)} "
                f"classes and a share in [0, 1]; got {len(imagenet)} numbers and share {share}"
            )
        self.source, self.weights, self.imagenet, self.share = source, weights, list(imagenet), share

    @property
    def name(self) -> str:
        """Say whose photos, and that a teacher saw them."""
        return f"{self.source.name}, {self.share:.0%} by EfficientNet-Lite0"

    @property
    def classes(self) -> tuple[str, ...]:
        """The source's."""
        return self.source.classes

    @cached_property
    def teacher(self) -> Teacher:
        """The network, loaded when the first photo is."""
        return load_teacher(self.weights)

    def examples(self) -> list[Example]:
        """List the source's photos.

        Raises:
            OSError, ValueError: as the source's.
        """
        return [
            example._replace(load=partial(self._load, example.load)) if example.split == TRAIN else example
            for example in self.source.examples()
        ]

    def _load(self, load: Callable[[], Labelled]) -> Labelled:
        image, label = load()
        assert isinstance(label, Tensor)
        return Labelled(image, partial(self._blend, int(label)))

    def _blend(self, label: int, image: Image.Image) -> Tensor:
        seen = self.teacher(image)[self.imagenet]
        target = self.share * seen / seen.sum().clamp_min(1e-12)
        target[label] += 1 - self.share
        return target / target.sum()
