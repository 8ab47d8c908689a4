"""LPIPS networks, kept apart from what is trained, averaged and saved."""

from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

Net = Literal["alex", "squeeze", "vgg"]

_CHECKPOINTS: dict[Net, str] = {
    "alex": "alexnet-owt-7be5be79.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
    "vgg": "vgg16-397923af.pth",
}


class MetricNetwork:
    """One frozen LPIPS network, on whatever device its pictures are.

    It is no `nn.Module` on purpose: an attribute of this type stays out of a module's parameters, state dict,
    averages and data-parallel wrapper.

    Args:
        net: the trunk; its ImageNet weights come through torch.hub (`TORCH_HOME`).

    Raises:
        RuntimeError: the weights are not there and cannot be fetched.

    Source: LPIPS, arXiv 1801.03924, through the `lpips` package.
    """

    def __init__(self, net: Net) -> None:
        from lpips import LPIPS

        try:
            network = LPIPS(net=net, verbose=False)
        except OSError as error:
            raise RuntimeError(
                f"LPIPS weights for {net!r} are not at {checkpoint_path(net)} and could not be fetched ({error}); "
                f"set TORCH_HOME to a folder that has them, or the weight of this loss to 0"
            ) from error
        self._network: nn.Module = network.eval().requires_grad_(False)
        self._device = torch.device("cpu")

    def __call__(self, image: Tensor, target: Tensor) -> Tensor:
        """Return (B,) distances between (B, 3, H, W) pictures in [0, 1]; differentiable."""
        if image.device != self._device:
            self._network.to(image.device)
            self._device = image.device
        return cast(Tensor, self._network(image, target, normalize=True)).flatten()


def checkpoint_path(net: Net) -> Path:
    """Return where torch.hub keeps the weights of a trunk."""
    return Path(torch.hub.get_dir()) / "checkpoints" / _CHECKPOINTS[net]
