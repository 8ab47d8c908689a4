from pathlib import Path
from urllib.error import URLError

import lpips
import pytest
import torch

from onedpiece.errors import MissingWeightsError
from onedpiece.metrics.perceptual import Lpips, unit_length
from onedpiece.metrics.registry import Scorer


def _pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.usefixtures("torch_home")
@pytest.mark.parametrize(("net", "expected"), [("squeeze", 0.1005), ("alex", 0.1469)])
def test_known_distance_of_random_pictures(net: str, expected: float) -> None:
    # The values are the team's BASELINES.md: seed 42, two rand(10, 3, 100, 100) in [−1, 1], averaged.
    torch.manual_seed(42)
    a, b = torch.rand(10, 3, 100, 100), torch.rand(10, 3, 100, 100)
    assert Lpips(net)(a, b).mean().item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.usefixtures("random_lpips")
@pytest.mark.parametrize("net", ["alex", "squeeze", pytest.param("vgg", marks=pytest.mark.slow)])
def test_agrees_with_the_packages_own_forward(net: str) -> None:
    reference, images = _pictures(1), _pictures(3, seed=1)
    ours = Lpips(net)
    with torch.no_grad():
        expected = ours._network(reference.expand(3, -1, -1, -1), images, normalize=True).flatten()
    assert ours(reference, images).tolist() == pytest.approx(expected.tolist(), rel=1e-4)


@pytest.mark.usefixtures("random_lpips")
def test_features_of_the_reference_serve_many_pictures() -> None:
    ours, reference, images = Lpips("alex"), _pictures(1), _pictures(3, seed=1)
    assert ours(ours.features(reference), images).tolist() == pytest.approx(ours(reference, images).tolist())
    assert ours(images, images).tolist() == pytest.approx([0.0] * 3, abs=1e-9)


@pytest.mark.usefixtures("random_lpips")
def test_gradient_reaches_the_picture_and_not_the_network() -> None:
    ours, images = Lpips("alex"), torch.zeros(1, 3, 64, 64, requires_grad=True)
    ours(_pictures(1), images).sum().backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()
    assert images.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in ours._network.parameters())


def test_unit_length_has_a_gradient_of_zero_at_zero() -> None:
    features = torch.zeros(1, 2, 1, 1, requires_grad=True)
    unit_length(features).square().sum().backward()
    assert features.grad is not None
    assert features.grad.flatten().tolist() == [0.0, 0.0]
    # (3, 4) / 5
    assert unit_length(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)).flatten().tolist() == pytest.approx(
        [0.6, 0.8]
    )


@pytest.mark.usefixtures("random_lpips")
def test_scorer_scores_what_an_8_bit_screen_shows() -> None:
    scorer, black = Scorer(["lpips"]), torch.zeros(5, 3, 64, 64)
    # 0.4 / 255 rounds away; the reference may be one for all, or one each.
    assert scorer.score("lpips", black[:1], black + 0.4 / 255) == pytest.approx([0.0] * 5, abs=1e-9)
    assert scorer.score("lpips", black, black + 0.4 / 255) == pytest.approx([0.0] * 5, abs=1e-9)
    one, each = (scorer.score("lpips", black[:n], _pictures(5)) for n in (1, 5))
    assert one == pytest.approx(each)
    assert min(one) > 0


def test_missing_weights_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(lpips, "LPIPS", refuse)
    with pytest.raises(MissingWeightsError, match=r"LPIPS-alex are neither in .* TORCH_HOME") as caught:
        Scorer(["psnr", "lpips"])
    assert "\n" not in str(caught.value)


def test_downloads_leave_standard_output_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(url: str, target: str, *_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    with pytest.raises(MissingWeightsError):
        Lpips("alex")
    out, err = capsys.readouterr()
    assert out == ""
    assert "Downloading" in err  # torch.hub got as far as to say so


def test_unknown_network() -> None:
    with pytest.raises(ValueError, match="no LPIPS network 'resnet'"):
        Lpips("resnet")
