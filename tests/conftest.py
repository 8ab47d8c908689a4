"""Fixtures that more than one test folder uses."""

import os
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    """The free test pictures and vectors that travel with the repository."""
    return DATA


@pytest.fixture(scope="session")
def shared() -> Path:
    """The team's folder of photographs and weights, which a user's clone does not have."""
    folder = Path(os.environ.get("ONEDPIECE_SHARED", ROOT.parent / "shared"))
    if not (folder / "DESIGN.md").is_file():
        pytest.skip(f"needs the team's shared folder, and {folder} is not there")
    return folder


@pytest.fixture
def torch_home(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point torch.hub at the offline LPIPS and SqueezeNet weights."""
    folder = shared / "torch_home"
    monkeypatch.setenv("TORCH_HOME", str(folder))
    return folder


@pytest.fixture
def photo() -> Image.Image:
    """A 256×256 RGB photograph."""
    return Image.open(DATA / "astronaut.png").convert("RGB")
