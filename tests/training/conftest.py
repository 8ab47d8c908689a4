"""Tokenizers, heads, data and trainers small enough to train in a second."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer, seed_everything
from torch import Tensor, nn

from onedpiece.heads import HeadConfig
from onedpiece.metrics.perceptual import FeatureNetwork
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.tokenizer.pixel_heads import SharpNetwork
from onedpiece.training import sharp_module
from onedpiece.training.codes import BoxTarget, CodeSamples
from onedpiece.training.data import FolderData
from onedpiece.training.head_module import HeadModule
from onedpiece.training.optimizer import OptimizerConfig, ScheduleConfig
from onedpiece.training.sharp_module import SharpLossConfig, SharpModule
from onedpiece.training.tokenizer_module import TokenizerModule
from onedpiece.weights import save


@dataclass
class Tiny:
    """Makes modules, data and trainers of one tiny run."""

    pictures: Path
    folder: Path
    config: TokenizerConfig
    quiet: dict[str, Any]

    def module(self, steps: int = 4, **options: Any) -> TokenizerModule:
        seed_everything(0, verbose=False)
        options.setdefault("statistics", "data")
        options.setdefault("optimizer", OptimizerConfig(lr=2e-3))
        options.setdefault("schedule", ScheduleConfig(steps=steps, warmup=0.1))
        options.setdefault("tokenizer", self.config)
        return TokenizerModule(**options)

    def data(self, **options: Any) -> FolderData:
        defaults: dict[str, Any] = {"size": 32, "batch": 4, "workers": 0, "val_share": 0.0}
        names = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.png")
        return FolderData(str(self.pictures), include=names, **(defaults | options))

    def trainer(self, *callbacks: Callback, **options: Any) -> Trainer:
        defaults: dict[str, Any] = {
            "limit_val_batches": 0,
            "default_root_dir": self.folder,
            "callbacks": list(callbacks),
        }
        return Trainer(**(self.quiet | defaults | options))

    def fit(
        self, module: TokenizerModule, *callbacks: Callback, ckpt: Path | None = None, **options: Any
    ) -> Trainer:
        trainer = self.trainer(*callbacks, **options)
        trainer.fit(module, datamodule=self.data(), ckpt_path=ckpt, weights_only=False)
        return trainer


def real_esrgan() -> dict[str, Tensor]:
    """Tensors of the published layout, of one block: three channels in."""
    torch.manual_seed(7)
    tensors = dict(SharpNetwork(1).state_dict())
    return tensors | {"conv_first.weight": torch.randn(64, 3, 3, 3)}


CLASSES = {"classify": ("dark", "light"), "segment": ("left", "right"), "depth": (), "detect": ("blob",)}
HALVES = ((0.05, 0.25, 0.45, 0.75), (0.55, 0.25, 0.95, 0.75))
"""A box in the left half and one in the right."""


def _targets(task: str, side: torch.Tensor) -> torch.Tensor | list[BoxTarget]:
    if task == "classify":
        return side
    if task == "detect":
        return [BoxTarget(torch.tensor([HALVES[int(s)]]), torch.zeros(1, dtype=torch.long)) for s in side]
    field = side[:, None, None].expand(-1, 32, 32)
    return field.byte() if task == "segment" else 1.0 + 3 * field.float()


class SideData(LightningDataModule):
    """The first token's first channel is at its lower or upper end; everything else is noise."""

    def __init__(self, task: str, tokenizer: Tokenizer, fingerprint: bytes = b"abcd") -> None:
        super().__init__()
        self.task, self.classes = task, CLASSES[task]
        self.codec = SimpleNamespace(tokenizer=tokenizer, fingerprint=fingerprint)

    def samples(self, seed: int, batch: int = 16) -> CodeSamples:
        generator = torch.Generator().manual_seed(seed)
        indices = torch.randint(4096, (batch, 16), generator=generator)
        side = torch.randint(2, (batch,), generator=generator)
        # 64 × 64 levels: an index modulo 64 is the level of the first channel.
        indices[:, 0] = indices[:, 0] // 64 * 64 + side * 63
        return CodeSamples(indices, _targets(self.task, side))

    def train_dataloader(self) -> Iterator[CodeSamples]:
        return (self.samples(seed) for seed in range(100, 100_000))

    def val_dataloader(self) -> Iterator[CodeSamples]:
        return (self.samples(seed) for seed in range(3))


@pytest.fixture(scope="session")
def tokenizer_config(small_config: Callable[..., TokenizerConfig]) -> TokenizerConfig:
    return small_config(width=32, heads=2, fsq_grades=((4, (64, 64)), (12, (16, 16, 16))))


@pytest.fixture
def quiet() -> dict[str, Any]:
    """A trainer's options: one CPU process that shows and keeps nothing, and ends when its module says so."""
    shown = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    ends: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "max_epochs": -1, "num_sanity_val_steps": 0}
    return ends | dict.fromkeys(shown, False)


@pytest.fixture
def tiny(data: Path, tmp_path: Path, tokenizer_config: TokenizerConfig, quiet: dict[str, Any]) -> Tiny:
    return Tiny(data, tmp_path, tokenizer_config, quiet)


@pytest.fixture
def each_loss() -> Callable[[], Callback]:
    class Losses(Callback):
        def __init__(self) -> None:
            self.values: list[float] = []

        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            self.values.append(float(outputs["loss"]))

    return Losses


@pytest.fixture(scope="session")
def small_tokenizer(tokenizer_config: TokenizerConfig) -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(tokenizer_config).eval()


@pytest.fixture
def side_data(small_tokenizer: Tokenizer) -> Any:
    return lambda task: SideData(task, small_tokenizer)


@pytest.fixture
def head_module() -> Any:
    def make(task: str, steps: int = 60, **options: Any) -> HeadModule:
        grid = 0 if task == "classify" else 2
        names = CLASSES[task] or ("any",)
        config = HeadConfig(
            task=task,  # type: ignore[arg-type]
            classes=names,
            width=32,
            heads=2,
            layers=1,
            grid=grid,
            channels=8,
        )
        defaults: dict[str, Any] = {
            "schedule": ScheduleConfig(steps=steps, warmup=0.1),
            "head": config,
            "optimizer": OptimizerConfig(lr=1e-2),
            "counts": (1, 16),
            "ema_decay": 0.9,
        }
        return HeadModule(**(defaults | options))

    return make


@pytest.fixture
def fit(tmp_path: Path, quiet: dict[str, Any]) -> Any:
    def run(module: HeadModule, data: SideData, ckpt: Any = None, **options: Any) -> Trainer:
        defaults: dict[str, Any] = {
            "val_check_interval": 10_000,
            "default_root_dir": tmp_path,
        }
        trainer = Trainer(**(quiet | defaults | options))
        trainer.fit(module, datamodule=data, ckpt_path=ckpt, weights_only=False)
        return trainer

    return run


class TwoStages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.first(x).relu()
        return [x, self.second(x).relu()]


class RandomFeatures(FeatureNetwork):
    """Stands for SqueezeNet and for EfficientNet."""

    def __init__(self, weights: Path | None = None) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            super().__init__(TwoStages(), (4, 8), (0.5,) * 3, (0.5,) * 3)


@pytest.fixture
def sharp_networks(random_lpips: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharp_module, "SqueezeNet", RandomFeatures)
    monkeypatch.setattr(sharp_module, "EfficientNetLite", RandomFeatures)


@pytest.fixture
def no_sharp(tiny: Tiny, tmp_path: Path) -> Path:
    """A tokenizer without a sharp network."""
    torch.manual_seed(3)
    return save(Tokenizer(tiny.config), tmp_path / "tokenizer")


MakeSharp = Callable[..., SharpModule]


@pytest.fixture
def make_sharp(no_sharp: Path, sharp_networks: None) -> MakeSharp:
    def module(**options: Any) -> SharpModule:
        torch.manual_seed(0)
        defaults: dict[str, Any] = {
            "schedule": ScheduleConfig(steps=3, warmup=0.0),
            "init_from": str(no_sharp),
            "blocks": 1,
            "crop": 32,
            "losses": SharpLossConfig(wait=1, ramp=1),
        }
        return SharpModule(**(defaults | options))

    return module
