"""The published recipe in small: codes of a VQGAN first, then pixels with features and a discriminator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from onedpiece.errors import HubError
from onedpiece.tokenizer import TokenizerConfig
from onedpiece.tokenizer.vqgan import VQGAN
from onedpiece.training.augment import AugmentConfig
from onedpiece.training.callbacks import ExportWeights
from onedpiece.training.losses.adversarial import AdversarialConfig
from onedpiece.training.losses.perceptual import PerceptualConfig
from onedpiece.training.losses.proxy import ProxyCodes, ProxyConfig
from onedpiece.training.losses.reconstruction import PixelConfig
from onedpiece.training.optimizer import OptimizerConfig
from onedpiece.training.tail_drop import TailDropConfig
from onedpiece.weights import load

from .conftest import Tiny

CONFIG = TokenizerConfig(
    image_size=32,
    patch_size=8,
    num_tokens=16,
    width=64,
    heads=1,
    encoder_layers=1,
    decoder_layers=2,
    quantizer="vq",
    vq_codebook_size=32,
    linear_path=False,
    pixel_head="vqgan",
    vqgan_channels=32,
    vqgan_multipliers=(1, 1, 1, 1),
    vqgan_codebook_size=16,
    vqgan_codebook_dim=8,
)
PREFIXES = TailDropConfig(distribution="uniform", lengths="per_batch", full_probability=0.3, both=False)


@pytest.fixture
def vqgan(tiny: Tiny, tmp_path: Path) -> str:
    """A random VQGAN whose codebook is what its encoder says of a few patches, so that codes differ."""
    torch.manual_seed(0)
    network = VQGAN(CONFIG)
    data = tiny.data()
    data.setup("fit")
    pictures = next(iter(data.val_dataloader())) / 255
    with torch.no_grad():
        latents = network.encoder(pictures).permute(0, 2, 3, 1).flatten(0, 2)
        network.quantize.embedding.weight.copy_(latents[torch.randperm(len(latents))[:16]])
        codes = network.codes(pictures)
    assert codes.unique().numel() > 8
    save_file(network.state_dict(), tmp_path / "vqgan.safetensors")
    return str(tmp_path / "vqgan.safetensors")


@pytest.fixture
def small_convnext(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ConvNeXt of two blocks in place of the one whose weights are fetched."""

    def build(weights: str) -> ConvNeXt:
        assert weights == "IMAGENET1K_V1"
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)])

    monkeypatch.setattr("torchvision.models.convnext_small", build)


class Logged(Callback):
    """What was logged at each step."""

    def __init__(self, *names: str) -> None:
        self.values: dict[str, list[float]] = {name: [] for name in names}

    def on_train_batch_end(self, trainer: Any, *_: object) -> None:
        for name, values in self.values.items():
            values.append(float(trainer.callback_metrics[f"train/{name}"]))

    def mean(self, name: str, where: slice) -> float:
        part = self.values[name][where]
        return sum(part) / len(part)


@pytest.mark.slow
def test_both_stages_overfit_four_pictures(tiny: Tiny, vqgan: str, small_convnext: None) -> None:
    codes = Logged("proxy", "accuracy")
    first = tiny.module(
        steps=120,
        tokenizer=CONFIG,
        statistics="none",
        proxy=ProxyConfig(vqgan),
        optimizer=OptimizerConfig(lr=3e-3),
        tail_drop=PREFIXES,
        ema_decay=0.9,
    )
    plain = tiny.data(augment=AugmentConfig(flip=False))
    tiny.trainer(codes, ExportWeights(0)).fit(first, datamodule=plain)
    assert codes.mean("proxy", slice(-10, None)) < codes.values["proxy"][0] / 2
    assert codes.mean("accuracy", slice(-10, None)) > 0.6  # 1 / 16 at the start
    pixels = Logged("pixel", "perceptual", "adversarial", "discriminator")
    second = tiny.module(
        steps=100,
        tokenizer=CONFIG,
        statistics="none",
        init_from=str(tiny.folder / "weights"),
        train_parts=("decoder",),
        optimizer=OptimizerConfig(lr=2e-3),
        tail_drop=PREFIXES,
        pixel=PixelConfig(l1=0.0, l2=1.0),
        perceptual=PerceptualConfig(weight=0.1, nets=("convnext",), ramp=0.0, views=0),
        adversarial=AdversarialConfig(weight=0.01, start=0.0, head_start=0.0, ramp=0.0, width=8, lecam=0.001),
        ema_decay=0.9,
    )
    before = {name: tensor.clone() for name, tensor in second.tokenizer.state_dict().items()}
    tiny.trainer(pixels).fit(second, datamodule=tiny.data(augment=AugmentConfig(flip=False)))
    assert pixels.mean("pixel", slice(-10, None)) < pixels.values["pixel"][0] / 2
    assert pixels.mean("perceptual", slice(-10, None)) < pixels.values["perceptual"][0]
    after = second.tokenizer.state_dict()
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert {name.split(".")[0] for name in moved} == {"decoder"}
    assert any(name.startswith("decoder.head.pixel_decoder") for name in moved)


def test_stage_one_leaves_what_draws_as_it_is(tiny: Tiny, vqgan: str) -> None:
    module = tiny.module(steps=2, tokenizer=CONFIG, statistics="none", proxy=ProxyConfig(vqgan))
    drawing = ("decoder.head.pixel_decoder.", "decoder.head.pixel_quantize.")
    before = {n: t.clone() for n, t in module.tokenizer.state_dict().items() if n.startswith(drawing)}
    assert all(
        torch.equal(before[n.replace("decoder.", f"{drawing[0]}")], t) for n, t in _vqgan_decoder(vqgan)
    )
    tiny.fit(module)
    after = module.tokenizer.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    first = f"{drawing[0]}conv_in.weight"
    assert torch.equal(module.ema.average.state_dict()[first], after[first])


def _vqgan_decoder(path: str) -> list[tuple[str, Tensor]]:
    from onedpiece.weights.hub import read_state

    return [(name, each) for name, each in read_state(path).items() if name.startswith("decoder.")]


def test_the_loss_is_the_cross_entropy_of_a_patch() -> None:
    logits = torch.zeros(1, 4, 2, 2)
    logits[0, 1, 0, 0] = 2.0
    codes = torch.tensor([[[1, 0], [0, 0]]])
    # ln 4 for three patches, ln(e² + 3) − 2 for the first
    expected = (3 * torch.tensor(4.0).log() + (torch.tensor(2.0).exp() + 3).log() - 2) / 4
    torch.testing.assert_close(ProxyCodes.loss(logits, codes), expected)


def test_what_has_no_codes_is_refused(tiny: Tiny, vqgan: str) -> None:
    with pytest.raises(ValueError, match="needs a tokenizer with pixel_head vqgan, as s-256; it is patch"):
        tiny.module(proxy=ProxyConfig(vqgan))
    with pytest.raises(ValueError, match="learns codes, not pixels"):
        tiny.module(
            tokenizer=CONFIG,
            statistics="none",
            proxy=ProxyConfig(vqgan),
            adversarial=AdversarialConfig(weight=0.1, width=8),
        )
    with pytest.raises(HubError, match="there is no file nowhere, and it is no OWNER/NAME/FILE"):
        tiny.module(tokenizer=CONFIG, statistics="none", proxy=ProxyConfig("nowhere"))


def test_training_starts_from_a_name_of_the_hub(
    tiny: Tiny, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def download(repo: str, file: str) -> Path:
        asked.append((repo, file))
        return data / "official_state.safetensors"

    def read(path: Path) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        return load_file(path)

    monkeypatch.setattr("onedpiece.weights.hub.download", download)
    monkeypatch.setattr("onedpiece.weights.hub.read_pickled_state", read)
    name = "turing-motors/One-D-Piece-S-256"
    config = load(name).tokenizer.config
    module = tiny.module(tokenizer=config, statistics="none", init_from=name)
    assert asked == [(name, "pytorch_model.bin")] * 2
    assert module.tokenizer.config.width == 64
    with pytest.raises(ValueError, match=rf"init_from {name} holds another geometry"):
        tiny.module(statistics="none", init_from=name)


@pytest.mark.usefixtures("small_convnext")
def test_the_features_loss_is_of_logits_at_224_pixels() -> None:
    from onedpiece.metrics.perceptual import ConvNeXtDistance

    distance: Callable[[Tensor, Tensor], Tensor] = ConvNeXtDistance()
    torch.manual_seed(0)
    a, b = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32, requires_grad=True)
    assert distance(a, a).tolist() == [0.0, 0.0]
    found = distance(a, b)
    assert found.shape == (2,)
    assert (found > 0).all()
    found.sum().backward()
    assert b.grad is not None
    assert b.grad.abs().sum() > 0
