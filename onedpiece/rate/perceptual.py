"""LPIPS: the distance between two pictures as a pretrained network sees them."""

import warnings
from urllib.error import URLError

import lpips
import torch
from torch import Tensor

NETS = ("alex", "squeeze", "vgg")


class MissingWeightsError(RuntimeError):
    """Pretrained weights are neither on this machine nor to be downloaded."""


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
        layers = self._model.net(self._model.scaling_layer(images * 2 - 1))
        return [lpips.normalize_tensor(layer) for layer in layers]
