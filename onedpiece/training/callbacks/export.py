"""Averaged weights on disk while training goes on: what users load, without the optimizer."""

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from onedpiece.training.callbacks.interval import Interval
from onedpiece.training.module import TokenizerModule
from onedpiece.weights import save

log = logging.getLogger(__name__)


class ExportWeights(Callback):
    """Writes the averaged tokenizer as float16 safetensors, every few minutes and at the end.

    Args:
        minutes: training time between two exports; 0: only at the end.
        folder: where to; None: `weights` in the trainer's `default_root_dir`.
    """

    def __init__(self, minutes: float = 5.0, folder: str | None = None) -> None:
        self.folder = folder
        self._interval = Interval(60 * minutes)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        assert isinstance(pl_module, TokenizerModule)
        self._interval.restart(pl_module.seconds)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Export when it is time."""
        assert isinstance(pl_module, TokenizerModule)
        if self._interval.due(pl_module.seconds):
            self._export(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export the result."""
        assert isinstance(pl_module, TokenizerModule)
        self._export(trainer, pl_module)

    def _export(self, trainer: Trainer, module: TokenizerModule) -> None:
        if trainer.is_global_zero:
            folder = save(module.averaged, self.folder or Path(trainer.default_root_dir) / "weights")
            log.info("step %d: weights are in %s", module.batches, folder)
