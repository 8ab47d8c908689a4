"""Photos without labels, with the depth that a large network sees in them."""

from collections.abc import Callable
from functools import cached_property, partial
from importlib import import_module
from io import BytesIO
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from onedpiece.pictures import read_picture
from onedpiece.rate.perceptual import missing_weights
from onedpiece.training.codes.source import TEST, TRAIN, Example, Labelled, Source
from onedpiece.training.data.members import Member, read, tar_members
from onedpiece.training.data.split import is_held_out

Teacher = Callable[[Image.Image], Tensor]
"""An RGB picture to its (H, W) float32 depth."""


class DistilledDepth(Source):
    """WebDataset tars, labelled by a depth network of transformers.

    Args:
        path: one tar, or a folder of them.
        network: the hub's name of the network, or a folder; extra `[downstream]`.
        test_share: share of the photos to test on, by the hash of their keys.
        limit: most photos to take, from the first on; None: all.
    """

    task = "depth"
    classes = ()

    def __init__(
        self,
        path: str = "../shared/data/train",
        network: str = "depth-anything/Depth-Anything-V2-Small-hf",
        test_share: float = 0.05,
        limit: int | None = None,
    ) -> None:
        self.path, self.network, self.test_share, self.limit = path, network, test_share, limit

    @property
    def name(self) -> str:
        """Say whose depths these are."""
        return f"depth by {self.network}"

    @cached_property
    def teacher(self) -> Teacher:
        """The network, loaded when the first photo is."""
        return load_teacher(self.network)

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
        return Labelled(image, self.teacher(image))


def load_teacher(network: str) -> Teacher:
    """Return a depth network of transformers as a function of pictures.

    Raises:
        ModuleNotFoundError: transformers is not installed; the message names the extra.
        MissingWeightsError: its weights are neither in the hub's cache nor to be downloaded.
    """
    try:
        transformers: Any = import_module("transformers")
    except ImportError as error:
        raise ModuleNotFoundError(
            f"the depth network {network} needs an extra: pip install 'onedpiece[downstream]'"
        ) from error
    try:
        estimate = transformers.pipeline("depth-estimation", model=network)
    except (OSError, ValueError, RuntimeError) as error:
        raise missing_weights(network, error) from error
    return lambda image: (
        estimate(image)["predicted_depth"].to(torch.float32).reshape(image.height, image.width)
    )
