"""Photos without labels, with the depth that a large network sees in them."""

from collections.abc import Callable
from functools import cached_property, partial
from io import BytesIO

from PIL import Image
from torch import Tensor

from onedpiece.pictures import read_picture
from onedpiece.training.codes.source import TEST, TRAIN, Example, Labelled, Source
from onedpiece.training.data.members import Member, read, tar_members
from onedpiece.training.data.split import is_held_out
from onedpiece.training.pretrained import depth_seen, transformers_pair

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
    return partial(depth_seen, *transformers_pair(network, "AutoModelForDepthEstimation"))
