"""A tokenizer, data and a trainer small enough to train in a second."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer, seed_everything

from onedpiece.tokenizer import TokenizerConfig
from onedpiece.training.data import FolderData
from onedpiece.training.module import TokenizerModule
from onedpiece.training.optimizer import OptimizerConfig
from onedpiece.training.schedule import ScheduleConfig


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
