"""Perceptual distances: LPIPS, and the features of pretrained networks that see pictures."""

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece._files import one_line
from onedpiece.errors import MissingExtraError, MissingWeightsError

EFFICIENTNET = "tf_efficientnet_lite0"
MIN_SIDE = 32  # pixels: the last of EfficientNet's five stages has a stride of 32

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation that torchvision trains with
_CENTRED = (127 / 255,) * 3, (128 / 255,) * 3  # and those of EfficientNet-Lite


def missing_weights(what: str, reason: BaseException) -> MissingWeightsError:
    """Return the error that says in one line which weights are missing and what to do."""
    return MissingWeightsError(
        f"the weights of {what} are neither in {torch.hub.get_dir()}/checkpoints nor to be downloaded "
        f"({one_line(reason)}); connect once, or point TORCH_HOME at a folder that holds them"
    )


@contextmanager
def fetching(what: str) -> Iterator[None]:
    """Load pretrained weights inside of this: what torch.hub says goes to standard error.

    torch.hub announces a download on standard output, where a file may be on its way out.

    Args:
        what: the network, for the message.

    Raises:
        MissingWeightsError: in place of any OSError (a URLError too) or RuntimeError inside.
    """
    try:
        with redirect_stdout(sys.stderr or io.StringIO()):
            yield
    except (OSError, RuntimeError) as error:
        raise missing_weights(what, error) from error


def unit_length(features: Tensor) -> Tensor:
    """Return features (B, C, H, W) as float32, each pixel's channels divided by their L2 norm.

    Where all channels are 0 the gradient is 0; with the norm's own root it would be NaN.
    """
    features = features.float()
    return features * torch.rsqrt(features.square().sum(dim=1, keepdim=True) + 1e-20)


class FeatureNetwork:
    """A frozen network that returns feature maps of several stages, on whatever device its pictures are.

    Differentiable. It is no `nn.Module` on purpose: an attribute of this type stays out of a module's
    parameters, state dict, averages and data-parallel wrapper.

    Args:
        network: from normalised pictures to a list of feature maps.
        channels: of each stage.
        mean: of each colour, in [0, 1], that the network takes as 0.
        deviation: how far from it is 1.
    """

    def __init__(
        self, network: Any, channels: tuple[int, ...], mean: tuple[float, ...], deviation: tuple[float, ...]
    ) -> None:
        self._network = network.float().eval().requires_grad_(False)
        self.channels = channels
        self._mean = torch.tensor(mean).view(1, -1, 1, 1)
        self._deviation = torch.tensor(deviation).view(1, -1, 1, 1)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Return the stages' features (B, C, h, w) of pictures (B, 3, H, W) in [0, 1]."""
        if self._mean.device != images.device:
            self._network.to(images.device)
            self._mean, self._deviation = self._mean.to(images.device), self._deviation.to(images.device)
        return list(self._network((images.float() - self._mean) / self._deviation))


class EfficientNetLite(FeatureNetwork):
    """Five stages of EfficientNet-Lite0 (Apache-2.0), trained on ImageNet; sides of at least MIN_SIDE.

    Args:
        weights: a safetensors file with timm's keys of `tf_efficientnet_lite0`, as `tools/fetch_priors.py`
            writes it; others in it are left alone.

    Raises:
        MissingExtraError: timm is not installed; the message names the extra.
        MissingWeightsError: there is no such file, or it holds another network.

    Source: EfficientNet-Lite, the Lite variants of arXiv 1905.11946, in timm's naming.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__(_efficientnet(weights), (16, 24, 40, 112, 320), *_CENTRED)


class EfficientNetClassifier(FeatureNetwork):
    """EfficientNet-Lite0 whole: the logits of ImageNet's 1,000 classes; 224 pixels is what it was trained on.

    Args:
        weights: as for `EfficientNetLite`.

    Raises:
        MissingExtraError, MissingWeightsError: as `EfficientNetLite`.
    """

    def __init__(self, weights: Path) -> None:
        network = _Logits(_efficientnet(weights, features_only=False))
        super().__init__(network, (1000,), *_CENTRED)

    def __call__(self, images: Tensor) -> Tensor:  # type: ignore[override]
        """Return logits (B, 1000) of pictures (B, 3, H, W) in [0, 1]."""
        return super().__call__(images)[0]


class SqueezeNet(FeatureNetwork):
    """Three stages of SqueezeNet 1.1, trained on ImageNet; weights come through torch.hub (`TORCH_HOME`).

    Raises:
        MissingWeightsError: its weights cannot be had.
    """

    def __init__(self) -> None:
        from torchvision.models import squeezenet1_1

        with fetching("SqueezeNet 1.1"):
            layers = squeezenet1_1(weights="IMAGENET1K_V1").features
        stages = _Stages(layers, (4, 7, 12))
        super().__init__(stages, (128, 256, 512), *_IMAGENET)


class _Stages(nn.Module):
    def __init__(self, layers: nn.Sequential, ends: tuple[int, ...]) -> None:
        super().__init__()
        self.layers, self.ends = layers[: ends[-1] + 1], ends

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i in self.ends:
                found.append(x)
        return found


class FeatureDistance:
    """The distance of two pictures in a network's features; by EfficientNet a second opinion beside LPIPS.

    The mean, over the network's stages and over the places of each, of the squared difference of features
    whose channels are of length 1 at every place: LPIPS without learnt weights (Zhang et al. 2018,
    arXiv 1801.03924, section 3). Differentiable.

    Args:
        network: whose features.
    """

    def __init__(self, network: FeatureNetwork) -> None:
        self._network = network

    def features(self, images: Tensor) -> list[Tensor]:
        """Return features of unit length, (B, C, h, w) a stage, of pictures (B, 3, H, W) in [0, 1]."""
        return [unit_length(stage) for stage in self._network(images)]

    def __call__(self, reference: Tensor | list[Tensor], images: Tensor) -> Tensor:
        """Return the distance of each picture, (B,) float32; 0 is identical, 4 the most there can be.

        Args:
            reference: (B, 3, H, W) or (1, 3, H, W), in [0, 1]; or its features, to compute them only once.
            images: (B, 3, H, W), in [0, 1], of the reference's size.
        """
        expected = self.features(reference) if isinstance(reference, Tensor) else reference
        pairs = zip(expected, self.features(images), strict=True)
        distances = [(wanted - seen).square().sum(dim=1).mean(dim=(1, 2)) for wanted, seen in pairs]
        return torch.stack(distances).mean(dim=0)


def _efficientnet(weights: Path, features_only: bool = True) -> Any:
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError(
            f"{EFFICIENTNET} needs an extra: pip install 'onedpiece[retokenize]'"
        ) from error
    try:
        state = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise MissingWeightsError(f"{weights}: no weights of {EFFICIENTNET} are there ({error})") from error
    network = timm.create_model(EFFICIENTNET, pretrained=False, features_only=features_only)
    try:
        missing, _ = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise MissingWeightsError(f"{weights} holds another network than {EFFICIENTNET}") from error
    # Counters of batches say nothing in evaluation mode, and timm's own files leave them out.
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing:
        raise MissingWeightsError(
            f"{weights} holds another network than {EFFICIENTNET}: it has no {missing[0]}"
        )
    return network


Net = Literal["alex", "squeeze", "vgg"]
"""Trunks of LPIPS."""


class Lpips:
    """One frozen LPIPS network, on whatever device its pictures are; differentiable.

    It is no `nn.Module` on purpose: an attribute of this type stays out of a module's parameters, state dict,
    averages and data-parallel wrapper.

    Args:
        net: the trunk; its ImageNet weights come through torch.hub (`TORCH_HOME`).

    Raises:
        ValueError: no such network.
        MissingWeightsError: its weights cannot be had.

    Zhang et al. 2018 (arXiv 1801.03924), the calibrated version 0.1 as the `lpips` package ships it.
    """

    def __init__(self, net: str = "alex") -> None:
        if net not in get_args(Net):
            raise ValueError(f"no LPIPS network {net!r}; there are: {', '.join(get_args(Net))}")
        import lpips

        with fetching(f"LPIPS-{net}"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lpips calls torchvision by a deprecated argument
            network = lpips.LPIPS(net=net, verbose=False)
        self._network: Any = network.eval().requires_grad_(False)
        self._device = torch.device("cpu")

    def features(self, images: Tensor) -> list[Tensor]:
        """Return features of unit length, (B, C, h, w) a layer, of pictures (B, 3, H, W) in [0, 1]."""
        if images.device != self._device:
            self._network.to(images.device)
            self._device = images.device
        layers = self._network.net(self._network.scaling_layer(2.0 * images.float() - 1.0))
        return [unit_length(layer) for layer in layers]

    def __call__(self, reference: Tensor | list[Tensor], images: Tensor) -> Tensor:
        """Return the distance of each picture, (B,) float32; 0 is identical, lower is better.

        Args:
            reference: (B, 3, H, W) or (1, 3, H, W), in [0, 1]; or its features, to compute them only once.
            images: (B, 3, H, W), in [0, 1], of the reference's size.
        """
        expected = self.features(reference) if isinstance(reference, Tensor) else reference
        distance = images.new_zeros(len(images), dtype=torch.float32)
        pairs = zip(expected, self.features(images), self._network.lins, strict=True)
        for wanted, seen, weigh in pairs:
            distance = distance + weigh((wanted - seen).square()).float().mean(dim=(1, 2, 3))
        return distance


class ConvNeXtDistance:
    """The distance of two pictures in the logits of ConvNeXt-Small, trained on ImageNet; differentiable.

    The mean over the classes of the squared difference, of pictures scaled to 224 pixels: the perceptual loss
    of TiTok and One-D-Piece. Weights come through torch.hub (`TORCH_HOME`). It is no `nn.Module`, as `Lpips`.

    Raises:
        MissingWeightsError: its weights cannot be had.

    Source: TiTok, arXiv 2406.07550; ConvNeXt, arXiv 2201.03545.
    """

    SIDE = 224

    def __init__(self) -> None:
        from torchvision.models import convnext_small

        with fetching("ConvNeXt-Small"):
            network = convnext_small(weights="IMAGENET1K_V1")
        self._network = FeatureNetwork(_Logits(network), (1000,), *_IMAGENET)

    def __call__(self, reference: Tensor, images: Tensor) -> Tensor:
        """Return the distance of each picture, (B,) float32.

        Args:
            reference: (B, 3, H, W), in [0, 1].
            images: (B, 3, H, W), in [0, 1], of the reference's size.
        """
        both = torch.cat([reference.float(), images.float()])
        both = F.interpolate(both, self.SIDE, mode="bilinear", align_corners=False, antialias=True)
        wanted, seen = self._network(both)[0].float().chunk(2)
        return (wanted - seen).square().mean(dim=1)


class _Logits(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.network(x)]
