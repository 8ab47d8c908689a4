"""LPIPS: the distance between two pictures as a pretrained network sees them, to score or train with."""

import warnings
from pathlib import Path
from typing import Any, Literal
from urllib.error import URLError

import torch
from torch import Tensor

from onedpiece.errors import MissingWeightsError

NETS = ("alex", "squeeze", "vgg")


Net = Literal["alex", "squeeze", "vgg"]

_CHECKPOINTS: dict[Net, str] = {
    "alex": "alexnet-owt-7be5be79.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
    "vgg": "vgg16-397923af.pth",
}


def missing_weights(what: str, reason: object) -> MissingWeightsError:
    """Return the error that says in one line which weights are missing and what to do."""
    last_line = (str(reason).strip() or type(reason).__name__).splitlines()[-1]
    return MissingWeightsError(
        f"the weights of {what} are neither in {torch.hub.get_dir()}/checkpoints nor to be downloaded "
        f"({last_line}); connect once, or point TORCH_HOME at a folder that holds them"
    )


class Lpips:
    """LPIPS of pictures in [0, 1], with the reference's features taken once for many candidates.

    Zhang et al. 2018 (arXiv 1801.03924), the calibrated version 0.1 as the `lpips` package ships it.
    """

    def __init__(self, net: str = "alex") -> None:
        """Load the network `net`, one of NETS.

        Raises:
            ValueError: no such network.
            MissingWeightsError: its weights cannot be had.
        """
        if net not in NETS:
            raise ValueError(f"no LPIPS network {net!r}; there are: {', '.join(NETS)}")
        import lpips

        try:
            with warnings.catch_warnings():
                # lpips calls torchvision by a deprecated argument.
                warnings.simplefilter("ignore")
                model = lpips.LPIPS(net=net, verbose=False)
        except (URLError, OSError, RuntimeError) as error:
            raise missing_weights(f"LPIPS-{net}", error) from error
        self._model = model.eval().requires_grad_(False)

    @torch.no_grad()
    def distance(self, reference: Tensor, images: Tensor) -> Tensor:
        """Return the distance of each picture, (B,); 0 is identical, lower is better.

        Args:
            reference: (B, 3, H, W) or (1, 3, H, W), in [0, 1].
            images: (B, 3, H, W), in [0, 1].
        """
        total = torch.zeros(len(images))
        pairs = zip(self._features(reference), self._features(images), self._model.lins, strict=True)
        for expected, seen, weigh in pairs:
            total = total + weigh((expected - seen).square()).mean(dim=(1, 2, 3))
        return total

    def _features(self, images: Tensor) -> list[Tensor]:
        import lpips

        layers = self._model.net(self._model.scaling_layer(images * 2 - 1))
        return [lpips.normalize_tensor(layer) for layer in layers]


def checkpoint_path(net: Net) -> Path:
    """Return where torch.hub keeps the ImageNet weights of a trunk."""
    return Path(torch.hub.get_dir()) / "checkpoints" / _CHECKPOINTS[net]


def unit_length(features: Tensor) -> Tensor:
    """Return features (B, C, H, W) as float32, each pixel's channels divided by their L2 norm.

    Where all channels are 0 the gradient is 0; with the norm's own root it would be NaN.
    """
    features = features.float()
    return features * torch.rsqrt(features.square().sum(dim=1, keepdim=True) + 1e-20)


class MetricNetwork:
    """One frozen LPIPS network, on whatever device its pictures are.

    It is no `nn.Module` on purpose: an attribute of this type stays out of a module's parameters, state dict,
    averages and data-parallel wrapper.

    Args:
        net: the trunk; its ImageNet weights come through torch.hub (`TORCH_HOME`).

    Raises:
        RuntimeError: the weights are not there and cannot be fetched.

    Source: LPIPS, arXiv 1801.03924, with the weights of the `lpips` package.
    """

    def __init__(self, net: Net) -> None:
        self._network: Any = _load(net)
        self._device = torch.device("cpu")

    def __call__(self, image: Tensor, target: Tensor) -> Tensor:
        """Return (B,) distances between (B, 3, H, W) pictures in [0, 1]; differentiable."""
        if image.device != self._device:
            self._network.to(image.device)
            self._device = image.device
        both = torch.cat([image.float(), target.float()])
        layers = self._network.net(self._network.scaling_layer(2.0 * both - 1.0))
        distance = image.new_zeros(len(image), dtype=torch.float32)
        for features, weigh in zip(layers, self._network.lins, strict=True):
            mine, theirs = unit_length(features).chunk(2)
            distance = distance + weigh((mine - theirs).square()).float().mean(dim=(1, 2, 3))
        return distance


def _load(net: Net) -> Any:
    from lpips import LPIPS

    try:
        network = LPIPS(net=net, verbose=False)
    except OSError as error:
        raise RuntimeError(
            f"the ImageNet weights that LPIPS needs for {net!r} are not at {checkpoint_path(net)} and could "
            f"not be fetched ({error}); set TORCH_HOME to a folder that has them, or perceptual.weight to 0"
        ) from error
    return network.eval().requires_grad_(False)
