"""Real networks of every kind, tiny or cut down, with random weights: nothing is fetched."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import models
from torchvision.transforms.functional import pil_to_tensor

from onedpiece.weights.third_party import Pretrained


def _preprocess(image: Image.Image) -> Tensor:
    return pil_to_tensor(image).float() / 255


def _pretrained(network: torch.nn.Module, categories: list[str]) -> Pretrained:
    return Pretrained(network.eval().requires_grad_(False), _preprocess, categories)


@pytest.fixture(scope="package")
def classifier() -> Pretrained:
    """SqueezeNet of four classes, which says 2 of dark pictures and 1 of bright ones."""
    torch.manual_seed(0)
    network = models.squeezenet1_1(weights=None, num_classes=4)
    with torch.no_grad():
        final = network.classifier[1]
        final.weight.zero_()
        final.weight[1] = 1.0
        final.bias.copy_(torch.tensor([-9.0, 0.0, 0.0, -9.0]))
        dark, bright = (
            float(network.features(torch.full((1, 3, 64, 64), x)).sum(1).mean()) for x in (0.0, 1.0)
        )
        final.weight.mul_(1 if bright > dark else -1)
        final.bias[1] = -(dark + bright) / 2 * (1 if bright > dark else -1)
    return _pretrained(network, ["a", "b", "c", "d"])


@pytest.fixture(scope="package")
def segmenter() -> Pretrained:
    """LR-ASPP of three classes."""
    torch.manual_seed(0)
    network = models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3
    )
    return _pretrained(network, ["road", "sky", "car"])


@pytest.fixture(scope="package")
def detector() -> Pretrained:
    """Faster R-CNN that is sure that whatever it proposes is a car."""
    torch.manual_seed(0)
    network = models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=4, box_detections_per_img=20
    )
    with torch.no_grad():
        network.roi_heads.box_predictor.cls_score.bias[3] = 20.0
    return _pretrained(network, ["__background__", "person", "N/A", "car"])


@pytest.fixture(scope="package")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved CLIP of two layers on 32×32 pixels."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    layers = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = transformers.CLIPConfig(
        text_config=layers | {"vocab_size": 64, "max_position_embeddings": 8, "bos_token_id": 0},
        vision_config=layers | {"image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    folder = tmp_path_factory.mktemp("clip")
    transformers.CLIPModel(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="package")
def depth_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved Depth Anything on a DINOv2 of four layers."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
        head_hidden_size=8,
    )
    folder = tmp_path_factory.mktemp("depth")
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    size = {"height": 56, "width": 56}
    transformers.DPTImageProcessor(size=size, ensure_multiple_of=14).save_pretrained(folder)
    return folder
