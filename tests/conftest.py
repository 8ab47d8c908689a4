"""Fixtures that more than one test folder uses.

What is heavy is imported by the fixtures that need it: pytest-xdist's controller reads this file too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from onedpiece.codec import Codec
    from onedpiece.evaluation.photos import Photo
    from onedpiece.tokenizer import Tokenizer, TokenizerConfig

# One thread a process, children included. Tiny networks gain nothing by more, and two pytest workers of two
# threads on two cores spend four times as long as they have to. Read when torch is loaded, which is later.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `shared` what asks for the maintainers' folder, so that nobody has to remember it."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)


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


@pytest.fixture(scope="session")
def random_networks() -> Callable[[str], Any]:
    """Build LPIPS networks with random trunks; each is drawn once, which takes long, and copied."""
    import lpips
    import torch

    network = lpips.LPIPS

    @cache
    def drawn(net: str) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return network(net=net, pnet_rand=True, verbose=False)

    return lambda net: deepcopy(drawn(net))


@pytest.fixture
def random_lpips(random_networks: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let LPIPS have random trunks, always the same, where its weights are not there."""
    from onedpiece.metrics.registry import _lpips_alex

    _lpips_alex.cache_clear()  # the one that a process keeps is to be random now, and not afterwards
    monkeypatch.setattr("lpips.LPIPS", lambda net, verbose: random_networks(net))
    yield
    _lpips_alex.cache_clear()


@pytest.fixture
def photo() -> Image.Image:
    """A 256×256 RGB photograph."""
    return Image.open(DATA / "astronaut.png").convert("RGB")


@pytest.fixture
def tool() -> Iterator[Callable[[str], ModuleType]]:
    """Import tools/NAME.py and its neighbours that it imports; anew for each test."""
    before = set(sys.modules)
    yield lambda name: import_module(f"tools.{name}")
    for name in set(sys.modules) - before:
        if name.startswith("tools."):
            del sys.modules[name]


@pytest.fixture(scope="session")
def small_config() -> Callable[..., TokenizerConfig]:
    """Make a config of 16 tokens on 32×32 pixels, of next to no weights; any field can be given otherwise."""
    from onedpiece.tokenizer import TokenizerConfig

    def make(**changes: Any) -> TokenizerConfig:
        defaults: dict[str, Any] = {
            "image_size": 32,
            "patch_size": 8,
            "num_tokens": 16,
            "width": 64,
            "heads": 1,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "fsq_grades": ((8, (64, 64)), (8, (8, 8, 8, 8))),
            "linear_size": 16,
        }
        return TokenizerConfig(**(defaults | changes))

    return make


@pytest.fixture(scope="session")
def small_codec(small_config: Callable[..., TokenizerConfig]) -> Callable[..., Codec]:
    """Make a codec of such a config, random but fixed; the linear path makes it a codec untrained."""
    import torch

    from onedpiece.codec import Codec
    from onedpiece.tokenizer import Tokenizer

    def make(fingerprint: bytes = bytes(4), **changes: Any) -> Codec:
        torch.manual_seed(0)
        return Codec(Tokenizer(small_config(**changes)), fingerprint, name="tiny")

    return make


@pytest.fixture(scope="session")
def stirred_tokenizer(small_config: Callable[..., TokenizerConfig]) -> Callable[..., Tokenizer]:
    """Make a tokenizer of such a config whose encoder has a say in the tokens, which it has not untrained."""
    import torch

    from onedpiece.tokenizer import Tokenizer

    def make(**changes: Any) -> Tokenizer:
        torch.manual_seed(0)
        tokenizer = Tokenizer(small_config(**changes)).eval()
        if tokenizer.encoder is not None:
            with torch.no_grad():
                for parameter in tokenizer.encoder.parameters():
                    parameter.add_(0.2 * torch.randn_like(parameter))
        return tokenizer

    return make


@pytest.fixture(scope="session")
def codec_64(small_codec: Callable[..., Codec]) -> Codec:
    """32 tokens on 64×64 pixels."""
    grades = ((8, (64, 64)), (24, (8, 8, 8, 8)))
    return small_codec(image_size=64, patch_size=16, num_tokens=32, fsq_grades=grades, linear_size=32)


@pytest.fixture(scope="session")
def codec(small_codec: Callable[..., Codec]) -> Codec:
    """16 tokens of 12 bits on 256×256 pixels: a file of k tokens is a header of 7 bytes and ⌈1.5·k⌉."""
    return small_codec(b"tiny", image_size=256, patch_size=64)


@pytest.fixture(scope="session")
def photos(data: Path) -> list[Photo]:
    """Three 256×256 photographs."""
    from onedpiece.evaluation.photos import Photo

    names = ("astronaut.png", "chelsea.png", "coffee.png")
    return [Photo(name, Image.open(data / name).convert("RGB")) for name in names]


@pytest.fixture(scope="session")
def shape() -> Callable[[str, int], Shape]:
    """Draw a red disc, a green square or blue stripes somewhere on grey; the same for the same seed."""
    import numpy as np

    colours = {"disc": (220, 40, 40), "square": (40, 200, 60), "stripes": (40, 60, 220)}

    def draw(kind: str, seed: int) -> Shape:
        random = np.random.default_rng([seed, *kind.encode()])
        image = Image.new("RGB", (128, 96), (int(random.integers(90, 160)),) * 3)
        x, y, r = int(random.integers(30, 98)), int(random.integers(30, 66)), int(random.integers(18, 28))
        left, top, right, bottom = box = (x - r, y - r, x + r, y + r)
        canvas = ImageDraw.Draw(image)
        # Pillow draws the last column and row as well; boxes end in front of them.
        if kind == "disc":
            canvas.ellipse((left, top, right - 1, bottom - 1), colours[kind])
        else:
            step, height = (8, 4) if kind == "stripes" else (2 * r, 2 * r)
            for at in range(top, bottom, step):
                canvas.rectangle((left, at, right - 1, min(at + height, bottom) - 1), colours[kind])
        return Shape(image, box)

    return draw


class Shape(NamedTuple):
    """A picture of 128×96 pixels with one thing in it, and the thing's box: left, top, right and bottom."""

    image: Image.Image
    box: tuple[int, int, int, int]
