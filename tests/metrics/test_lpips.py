from urllib.error import URLError

import lpips
import pytest
import torch

from onedpiece.errors import MissingWeightsError
from onedpiece.metrics.lpips import Lpips
from onedpiece.metrics.registry import Scorer


@pytest.mark.usefixtures("torch_home")
@pytest.mark.parametrize(("net", "expected"), [("squeeze", 0.1005), ("alex", 0.1469)])
def test_known_distance_of_random_pictures(net: str, expected: float) -> None:
    # The values are the team's BASELINES.md: seed 42, two rand(10, 3, 100, 100) in [−1, 1], averaged.
    torch.manual_seed(42)
    a, b = torch.rand(10, 3, 100, 100), torch.rand(10, 3, 100, 100)
    assert Lpips(net).distance(a, b).mean().item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.usefixtures("torch_home")
def test_agrees_with_the_packages_own_forward() -> None:
    random = torch.Generator().manual_seed(3)
    reference, images = (torch.rand(n, 3, 64, 64, generator=random) for n in (1, 3))
    with torch.no_grad():
        package = lpips.LPIPS(net="alex", verbose=False)
        expected = package(reference.expand(3, -1, -1, -1), images, normalize=True).flatten().tolist()
    assert Lpips("alex").distance(reference, images).tolist() == pytest.approx(expected, abs=1e-6)


def test_missing_weights_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(lpips, "LPIPS", refuse)
    with pytest.raises(MissingWeightsError, match=r"LPIPS-alex are neither in .* TORCH_HOME") as caught:
        Scorer(["psnr", "lpips"])
    assert "\n" not in str(caught.value)


def test_unknown_network() -> None:
    with pytest.raises(ValueError, match="no LPIPS network 'resnet'"):
        Lpips("resnet")
