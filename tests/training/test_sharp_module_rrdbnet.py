"""Tensors of other people's RRDBNets: three channels in are widened, what does not fit is refused."""

import pytest
import torch
from torch import Tensor

from onedpiece.tokenizer.pixel_heads import SharpNetwork
from onedpiece.training.sharp_module import load_rrdbnet

from .conftest import real_esrgan


def test_a_first_convolution_of_three_channels_is_widened_by_zeros() -> None:
    network, theirs = SharpNetwork(1), real_esrgan()
    load_rrdbnet(network, theirs)
    weight = network.conv_first.weight
    assert torch.equal(weight[:, :3], theirs["conv_first.weight"])
    assert weight[:, 3:].abs().sum() == 0
    assert torch.equal(network.body[0].rdb2.conv3.bias, theirs["body.0.rdb2.conv3.bias"])


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("conv_first.weight", torch.zeros(64, 4, 3, 3)),
        ("conv_first.weight", torch.zeros(64, 3, 5, 5)),
        ("conv_first.weight", torch.zeros(32, 3, 3, 3)),
        ("conv_first.weight", None),
        ("conv_hr.bias", torch.zeros(3)),
        ("conv_hr.bias", None),
        ("body.1.rdb1.conv1.bias", torch.zeros(32)),
    ],
)
def test_another_networks_tensors_are_refused(name: str, tensor: Tensor | None) -> None:
    theirs = real_esrgan()
    theirs = {key: value for key, value in theirs.items() if key != name}
    if tensor is not None:
        theirs[name] = tensor
    with pytest.raises(ValueError, match=r"this is no RRDBNet of these sizes: .*conv"):
        load_rrdbnet(SharpNetwork(1), theirs)
