"""Codes whose tokens give the answer away, and a head small enough to find that out in seconds."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer

from onedpiece.heads import HeadConfig
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.training.codes import BoxTarget, CodeSamples
from onedpiece.training.heads import HeadModule
from onedpiece.training.optimizer import OptimizerConfig
from onedpiece.training.schedule import ScheduleConfig

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
            "gradient_clip_val": 1.0,
            "default_root_dir": tmp_path,
        }
        trainer = Trainer(**(quiet | defaults | options))
        trainer.fit(module, datamodule=data, ckpt_path=ckpt, weights_only=False)
        return trainer

    return run
