"""Checkpoints to resume from, by time."""

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from onedpiece.training.callbacks.interval import Interval
from onedpiece.training.module import TokenizerModule

log = logging.getLogger(__name__)


class Checkpoints(Callback):
    """Keeps `last.ckpt`, renewed every few minutes, and at the end.

    Resume with `--ckpt_path RUN/checkpoints/last.ckpt`.

    Args:
        minutes: training time between two checkpoints; 0: only at the end.
        folder: where to; None: `checkpoints` in the trainer's `default_root_dir`.
    """

    def __init__(self, minutes: float = 10.0, folder: str | None = None) -> None:
        self.folder = folder
        self._interval = Interval(60 * minutes)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        assert isinstance(pl_module, TokenizerModule)
        self._interval.restart(pl_module.seconds)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write one when it is time."""
        assert isinstance(pl_module, TokenizerModule)
        if self._interval.due(pl_module.seconds):
            self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last one."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        path = Path(self.folder or Path(trainer.default_root_dir) / "checkpoints") / "last.ckpt"
        partial = path.with_suffix(".partial")
        trainer.save_checkpoint(partial, weights_only=False)  # every process takes part in it
        if trainer.is_global_zero:
            partial.replace(path)
            log.info("checkpoint: %s", path)
