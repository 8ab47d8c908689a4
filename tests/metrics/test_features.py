from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from onedpiece.errors import MissingWeightsError
from onedpiece.metrics.perceptual import (
    EFFICIENTNET,
    ConvNeXtDistance,
    EfficientNetLite,
    FeatureDistance,
    SqueezeNet,
)

timm = pytest.importorskip("timm", reason="timm is not installed")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network of the right kind, in float16 and with the classifier, as the published file is."""
    torch.manual_seed(0)
    state = timm.create_model(EFFICIENTNET, pretrained=False).state_dict()
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file({key: value.half() for key, value in state.items() if value.is_floating_point()}, path)
    return path


@pytest.fixture(scope="module")
def distance(weights: Path) -> FeatureDistance:
    return FeatureDistance(EfficientNetLite(weights))


def _pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_five_stages_of_unit_length(distance: FeatureDistance) -> None:
    stages = distance.features(_pictures(2))
    assert [tuple(stage.shape[1:]) for stage in stages] == [
        (16, 32, 32),
        (24, 16, 16),
        (40, 8, 8),
        (112, 4, 4),
        (320, 2, 2),
    ]
    lengths = torch.cat([stage.norm(dim=1).flatten() for stage in stages])
    assert torch.minimum((lengths - 1).abs(), lengths).max() < 1e-3  # 1, or 0 where nothing answers


def test_mean_over_stages_and_places(distance: FeatureDistance) -> None:
    a, b = _pictures(2).split(1)
    pairs = zip(distance.features(a), distance.features(b), strict=True)
    # |u − v|² of two unit vectors is 2 − 2·u·v, or less where one of them is zero.
    by_stage = [((u - v) ** 2).sum(1).mean() for u, v in pairs]
    assert distance(a, b).item() == pytest.approx(sum(x.item() for x in by_stage) / 5, rel=1e-5)
    assert 0 < distance(a, b).item() < 4
    assert distance(a, a).item() == pytest.approx(0, abs=1e-9)


def test_cached_reference_and_gradient(distance: FeatureDistance) -> None:
    reference, images = _pictures(1), _pictures(2).requires_grad_()
    cached = distance(distance.features(reference), images)
    assert cached.tolist() == pytest.approx(distance(reference, images).tolist())
    cached.sum().backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()
    assert images.grad[1].abs().sum() > 0


def test_a_distance_is_the_same_in_any_batch_and_trains_nothing(distance: FeatureDistance) -> None:
    pictures = _pictures(4)
    alone = [distance(pictures[:1], each[None]).item() for each in pictures]  # no batch statistics
    assert distance(pictures[:1], pictures).tolist() == pytest.approx(alone, abs=1e-5)
    assert not distance(pictures[:1], pictures).requires_grad


def test_squeezenet_is_read_behind_three_of_its_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Place(torch.nn.Module):
        def __init__(self, place: int) -> None:
            super().__init__()
            self.place = place

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full_like(x, self.place)

    network = torch.nn.Module()
    network.features = torch.nn.Sequential(*map(Place, range(13)))
    monkeypatch.setattr("torchvision.models.squeezenet1_1", lambda weights: network)
    assert [stage.unique().tolist() for stage in SqueezeNet()(_pictures(1))] == [[4.0], [7.0], [12.0]]


def test_convnexts_distance_is_a_mean_over_its_logits_at_224_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    class Means(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[2:] == (224, 224)
            return x.mean(dim=(2, 3))

    monkeypatch.setattr("torchvision.models.convnext_small", lambda weights: Means())
    found = ConvNeXtDistance()(torch.full((1, 3, 64, 64), 0.5), torch.full((1, 3, 64, 64), 0.6))
    # 0.1 in units of each colour's deviation: (0.1/0.229)², (0.1/0.224)², (0.1/0.225)²
    assert found.item() == pytest.approx((0.1907 + 0.1993 + 0.1975) / 3, abs=1e-3)


def test_weights_of_another_network_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"nowhere\.safetensors: no weights"):
        EfficientNetLite(tmp_path / "nowhere.safetensors")
    save_file({"conv_stem.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(MissingWeightsError, match=r"other\.safetensors holds another network"):
        EfficientNetLite(tmp_path / "other.safetensors")
    save_file({"other": torch.zeros(1)}, tmp_path / "none.safetensors")
    with pytest.raises(MissingWeightsError, match=r"it has no conv_stem\.weight"):
        EfficientNetLite(tmp_path / "none.safetensors")
