import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from onedpiece.errors import MissingWeightsError
from onedpiece.weights.third_party import depth_seen, torchvision_network, transformers_pair


def test_a_depth_map_of_any_size_is_brought_to_the_pictures() -> None:
    def processor(images: Image.Image, return_tensors: str) -> dict[str, Any]:
        return {"pixel_values": torch.zeros(1, 3, 8, 8)}

    class Model:
        device = torch.device("cpu")

        def __call__(self, pixel_values: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(predicted_depth=torch.tensor([[[1.0, 3.0], [1.0, 3.0]]]))

    depth = depth_seen(processor, Model(), Image.new("RGB", (6, 4)))
    assert (depth.shape, depth.dtype) == ((4, 6), torch.float32)
    # columns of 1 and 3: rises from left to right, the same in every row, 2 in the mean
    assert (depth.diff(dim=1) >= 0).all()
    torch.testing.assert_close(depth, depth[:1].expand(4, 6))
    torch.testing.assert_close(depth.mean(), torch.tensor(2.0))


def test_a_hub_out_of_reach_is_one_error_without_its_clients_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Loads:
        @classmethod
        def from_pretrained(cls, name: str) -> Any:
            logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s")
            raise OSError("no network")

    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(AutoImageProcessor=Loads, ViT=Loads))
    with pytest.raises(MissingWeightsError, match="no network"):
        transformers_pair("somebody/vit", "ViT")
    assert not caplog.records


def test_networks_come_in_evaluation_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loads(torch.nn.Module):
        @classmethod
        def from_pretrained(cls, name: str) -> Any:
            return cls() if name == "somebody/vit" else None

    transformers = SimpleNamespace(AutoImageProcessor=Loads, ViT=Loads)
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    _, model = transformers_pair("somebody/vit", "ViT")
    assert not model.training

    monkeypatch.setattr("torchvision.models.get_model", lambda name, weights: torch.nn.Linear(1, 1))
    found = torchvision_network("resnet18")
    assert not found.network.training
    assert not any(parameter.requires_grad for parameter in found.network.parameters())
    assert len(found.categories) == 1000
