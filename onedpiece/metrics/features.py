"""EfficientNet-Lite0's distance: a second opinion beside LPIPS, by a network that textures fool less."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from onedpiece.errors import MissingWeightsError
from onedpiece.metrics.lpips import unit_length

NETWORK = "tf_efficientnet_lite0"
MIN_SIDE = 32  # pixels: the last of the five stages has a stride of 32


class StageFeatures(NamedTuple):
    """A picture's features, to compare many others with.

    Attributes:
        stages: five tensors, (B, C, h, w), each pixel's channels of length 1.
    """

    stages: list[Tensor]


class FeatureDistance:
    """The distance of two pictures in the features of EfficientNet-Lite0, on whatever device they are.

    The mean, over the network's five stages and over the places of each, of the squared difference of
    features whose channels are of length 1 at every place: LPIPS without learnt weights (Zhang et al. 2018,
    arXiv 1801.03924, section 3). Differentiable. As `Lpips`, it is no `nn.Module` on purpose.

    Args:
        weights: a safetensors file with timm's keys of `tf_efficientnet_lite0`; others in it are left alone.

    Raises:
        ModuleNotFoundError: timm is not installed; the message names the extra.
        MissingWeightsError: there is no such file, or it holds another network.
    """

    def __init__(self, weights: Path) -> None:
        self._network: Any = _load(weights)
        self._device = torch.device("cpu")

    def features(self, images: Tensor) -> StageFeatures:
        """Return the features of pictures, (B, 3, H, W) in [0, 1], with sides of at least MIN_SIDE."""
        if images.device != self._device:
            self._network.to(images.device)
            self._device = images.device
        stages = self._network((images.float() * 255 - 127) / 128)
        return StageFeatures([unit_length(stage) for stage in stages])

    def __call__(self, reference: Tensor | StageFeatures, images: Tensor) -> Tensor:
        """Return the distance of each picture, (B,) float32; 0 is identical, 4 the most there can be.

        Args:
            reference: (B, 3, H, W) or (1, 3, H, W), in [0, 1]; or its features, to compute them only once.
            images: (B, 3, H, W), in [0, 1], of the reference's size.
        """
        expected = self.features(reference) if isinstance(reference, Tensor) else reference
        pairs = zip(expected.stages, self.features(images).stages, strict=True)
        distances = [(wanted - seen).square().sum(dim=1).mean(dim=(1, 2)) for wanted, seen in pairs]
        return torch.stack(distances).mean(dim=0)


def _load(weights: Path) -> Any:
    try:
        import timm
    except ImportError as error:
        raise ModuleNotFoundError(f"{NETWORK} needs an extra: pip install 'onedpiece[retokenize]'") from error
    try:
        state = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise MissingWeightsError(f"{weights}: no weights of {NETWORK} are there ({error})") from error
    network = timm.create_model(NETWORK, pretrained=False, features_only=True)
    try:
        missing, _ = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise MissingWeightsError(f"{weights} holds another network than {NETWORK}") from error
    # Counters of batches say nothing in evaluation mode, and timm's own files leave them out.
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing:
        raise MissingWeightsError(f"{weights} holds another network than {NETWORK}: it has no {missing[0]}")
    return network.float().eval().requires_grad_(False)
