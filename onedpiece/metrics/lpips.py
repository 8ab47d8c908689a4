"""LPIPS: the distance between two pictures as a pretrained network sees them, to score or to train with."""

import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from onedpiece.metrics.features import fetching, unit_length

Net = Literal["alex", "squeeze", "vgg"]

NETS: dict[Net, str] = {
    "alex": "alexnet-owt-7be5be79.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
    "vgg": "vgg16-397923af.pth",
}
"""Every trunk, with the file in which torch.hub keeps its ImageNet weights."""


class LpipsFeatures(NamedTuple):
    """A picture's features, to compare many others with.

    Attributes:
        layers: one tensor a layer, (B, C, h, w), each pixel's channels of length 1.
    """

    layers: list[Tensor]


def checkpoint_path(net: Net) -> Path:
    """Return where torch.hub keeps the ImageNet weights of a trunk."""
    return Path(torch.hub.get_dir()) / "checkpoints" / NETS[net]


class Lpips:
    """One frozen LPIPS network, on whatever device its pictures are; differentiable.

    It is no `nn.Module` on purpose: an attribute of this type stays out of a module's parameters, state dict,
    averages and data-parallel wrapper.

    Args:
        net: the trunk, one of NETS; its ImageNet weights come through torch.hub (`TORCH_HOME`).

    Raises:
        ValueError: no such network.
        MissingWeightsError: its weights cannot be had.

    Zhang et al. 2018 (arXiv 1801.03924), the calibrated version 0.1 as the `lpips` package ships it.
    """

    def __init__(self, net: str = "alex") -> None:
        if net not in NETS:
            raise ValueError(f"no LPIPS network {net!r}; there are: {', '.join(NETS)}")
        import lpips

        with fetching(f"LPIPS-{net}"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lpips calls torchvision by a deprecated argument
            network = lpips.LPIPS(net=net, verbose=False)
        self._network: Any = network.eval().requires_grad_(False)
        self._device = torch.device("cpu")

    def features(self, images: Tensor) -> LpipsFeatures:
        """Return the features of pictures, (B, 3, H, W) in [0, 1]."""
        if images.device != self._device:
            self._network.to(images.device)
            self._device = images.device
        layers = self._network.net(self._network.scaling_layer(2.0 * images.float() - 1.0))
        return LpipsFeatures([unit_length(layer) for layer in layers])

    def __call__(self, reference: Tensor | LpipsFeatures, images: Tensor) -> Tensor:
        """Return the distance of each picture, (B,) float32; 0 is identical, lower is better.

        Args:
            reference: (B, 3, H, W) or (1, 3, H, W), in [0, 1]; or its features, to compute them only once.
            images: (B, 3, H, W), in [0, 1], of the reference's size.
        """
        expected = self.features(reference) if isinstance(reference, Tensor) else reference
        distance = images.new_zeros(len(images), dtype=torch.float32)
        pairs = zip(expected.layers, self.features(images).layers, self._network.lins, strict=True)
        for wanted, seen, weigh in pairs:
            distance = distance + weigh((wanted - seen).square()).float().mean(dim=(1, 2, 3))
        return distance
