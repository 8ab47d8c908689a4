"""Frozen networks whose features a loss or a discriminator looks through.

SqueezeNet 1.1 and EfficientNet-Lite0.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from onedpiece.metrics.lpips import unit_length

EFFICIENTNET = "efficientnet_lite0.safetensors"


class FeatureNetwork:
    """A frozen network that returns feature maps of several stages, on whatever device its pictures are.

    It is no `nn.Module` on purpose: an attribute of this type stays out of a module's parameters, state dict
    and averages.

    Attributes:
        channels: of each stage.
    """

    channels: tuple[int, ...]

    def __init__(self, network: Any, scale: Tensor, shift: Tensor) -> None:
        self._network = network.eval().requires_grad_(False)
        self._scale, self._shift = scale.view(1, 3, 1, 1), shift.view(1, 3, 1, 1)

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Return the stages' features (B, C, h, w) of pictures (B, 3, H, W) in [0, 1]; differentiable."""
        if self._scale.device != x.device:
            self._network.to(x.device)
            self._scale, self._shift = self._scale.to(x.device), self._shift.to(x.device)
        features: list[Tensor] = list(self._network(x * self._scale + self._shift))
        return features


class EfficientNetLite(FeatureNetwork):
    """Five stages of EfficientNet-Lite0 (Apache-2.0), trained on ImageNet.

    Args:
        folder: holds `efficientnet_lite0.safetensors`, as `tools/fetch_priors.py` writes it.

    Raises:
        RuntimeError: timm or the weights are missing.

    Source: EfficientNet-Lite, the Lite variants of arXiv 1905.11946, in timm's naming.
    """

    channels = (16, 24, 40, 112, 320)

    def __init__(self, folder: str | Path) -> None:
        path = Path(folder) / EFFICIENTNET
        if not path.is_file():
            raise RuntimeError(f"{path} is not there; python -m tools.fetch_priors {folder} fetches it")
        try:
            from timm import create_model
        except ImportError as error:
            raise RuntimeError(
                "EfficientNet features need timm: pip install 'onedpiece[retokenize]'"
            ) from error
        network = create_model("tf_efficientnet_lite0", features_only=True)
        state, wanted = load_file(path), network.state_dict()
        missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
        if missing:
            raise RuntimeError(f"{path} lacks {missing[0]} and {len(missing) - 1} more tensors")
        network.load_state_dict({name: state.get(name, value) for name, value in wanted.items()}, strict=True)
        super().__init__(network, torch.full((3,), 255 / 128), torch.full((3,), -127 / 128))


class SqueezeNet(FeatureNetwork):
    """Three stages of SqueezeNet 1.1, trained on ImageNet; weights come through torch.hub (`TORCH_HOME`)."""

    channels = (128, 256, 512)

    def __init__(self) -> None:
        from torchvision.models import squeezenet1_1

        layers = squeezenet1_1(weights="IMAGENET1K_V1").features
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        super().__init__(_Stages(layers, (4, 7, 12)), 1 / deviation, -mean / deviation)


class _Stages(torch.nn.Module):
    def __init__(self, layers: torch.nn.Sequential, ends: tuple[int, ...]) -> None:
        super().__init__()
        self.layers, self.ends = layers, ends

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for i, layer in enumerate(self.layers[: self.ends[-1] + 1]):
            x = layer(x)
            if i in self.ends:
                found.append(x)
        return found


def feature_distance(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Return (B,) distances, the mean over stages and places of ‖a − b‖² of unit-length features.

    Args:
        found: the stages' features (B, C, h, w) of one picture.
        wanted: of the other.
    """
    each = [
        (unit_length(a) - unit_length(b)).square().sum(1).mean((1, 2))
        for a, b in zip(found, wanted, strict=True)
    ]
    return torch.stack(each).mean(0)
