from pathlib import Path

import pytest
import torch

from onedpiece.metrics.perceptual import Lpips
from onedpiece.training.augment import Crop
from onedpiece.training.losses import perceptual
from onedpiece.training.losses.perceptual import PerceptualConfig, PerceptualLoss


def pair(size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(2, 3, size, size, generator=generator)
    return (target + 0.1 * torch.randn(2, 3, size, size, generator=generator)).clamp(0, 1), target


def test_loss_is_zero_for_equal_pictures_and_follows_its_generator(random_lpips: None) -> None:
    loss = PerceptualLoss(PerceptualConfig(weight=1.0, views=2, view_size=32))
    image, target = pair()
    draws = [loss(image, target, torch.Generator().manual_seed(seed)).item() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert min(draws) > 0
    assert loss(target, target, torch.Generator()).item() == pytest.approx(0.0, abs=1e-6)


def test_no_views_is_the_metric_itself(random_lpips: None) -> None:
    image, target = pair()
    loss = PerceptualLoss(PerceptualConfig(weight=1.0, nets=("alex",), views=0))
    expected = Lpips("alex")(target, image).mean().item()
    assert loss(image, target, torch.Generator()).item() == pytest.approx(expected)


def test_networks_and_views_are_averaged(random_lpips: None, monkeypatch: pytest.MonkeyPatch) -> None:
    image, target = pair()
    loss = PerceptualLoss(PerceptualConfig(weight=1.0, nets=("alex", "alex"), views=0))
    expected = Lpips("alex")(target, image).mean().item()
    assert loss(image, target, torch.Generator()).item() == pytest.approx(expected)
    asked: list[tuple[object, ...]] = []

    def whole(*args: object) -> Crop:
        asked.append(args[:3])
        return Crop(0, 0, 64, 64, mirrored=False)

    monkeypatch.setattr(perceptual, "sample_crop", whole)
    config = PerceptualConfig(weight=1.0, nets=("alex",), views=3, view_size=48, min_scale=0.7)
    assert PerceptualLoss(config)(image, target, torch.Generator()).item() == pytest.approx(expected)
    assert asked == [(64, 48, 0.7)] * 3


def test_gradient_is_finite(random_lpips: None) -> None:
    loss = PerceptualLoss(PerceptualConfig(weight=1.0, views=1, view_size=32))
    image = torch.zeros(1, 3, 64, 64, requires_grad=True)
    loss(image, torch.zeros(1, 3, 64, 64), torch.Generator().manual_seed(0)).backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()


def test_weight_grows_late() -> None:
    config = PerceptualConfig(weight=0.2, start=0.4, ramp=0.2)
    assert [config.weight_at(p) for p in (0.3, 0.5, 0.7)] == pytest.approx([0.0, 0.1, 0.2])


def test_missing_weights_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(RuntimeError, match="TORCH_HOME"):
        Lpips("alex")


@pytest.mark.parametrize("given", [{"weight": -1.0}, {"weight": 1.0, "nets": ()}, {"view_size": 8}])
def test_nonsense_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="perceptual"):
        PerceptualConfig(**given)  # type: ignore[arg-type]
