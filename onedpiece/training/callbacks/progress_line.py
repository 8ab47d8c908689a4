"""One plain line of text every few seconds."""

import logging
from collections.abc import Mapping
from time import monotonic
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from onedpiece.training.callbacks.interval import Interval
from onedpiece.training.module import TokenizerModule

log = logging.getLogger(__name__)


class ProgressLine(Callback):
    """Logs step, minutes, images a second (validation included), the mean loss and the learning rate.

    Args:
        seconds: between two lines; 0: none.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        self._interval = Interval(seconds)
        self._losses: list[Tensor] = []
        self._images = 0
        self._since = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        assert isinstance(pl_module, TokenizerModule)
        self._interval.restart(pl_module.seconds)
        self._since = monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Mapping[str, Any] | Tensor | None,
        batch: Tensor,
        batch_idx: int,
    ) -> None:
        """Write a line when it is time."""
        assert isinstance(pl_module, TokenizerModule)
        assert isinstance(outputs, Mapping)
        self._images += len(batch) * trainer.world_size
        self._losses.append(outputs["loss"])
        if self._interval.due(pl_module.seconds) and trainer.is_global_zero:
            log.info("%s", self._line(pl_module))
            self._losses, self._images, self._since = [], 0, monotonic()

    def _line(self, module: TokenizerModule) -> str:
        loss = float(torch.stack(self._losses).mean())
        rate = self._images / (monotonic() - self._since)
        return (
            f"step {module.batches} | {module.seconds / 60:.1f} min, {min(1.0, module.progress):.1%} | "
            f"{rate:.1f} images/s | loss {loss:.5f} | lr {module.lr:.2e}"
        )
