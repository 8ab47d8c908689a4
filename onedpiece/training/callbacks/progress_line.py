"""One plain line of text every few seconds."""

import logging
from time import monotonic
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from onedpiece.training.callbacks.interval import Interval
from onedpiece.training.module import TokenizerModule

log = logging.getLogger(__name__)


class ProgressLine(Callback):
    """Logs step, minutes, images a second (validation left out), loss and learning rate.

    Args:
        seconds: between two lines.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        self._interval = Interval(seconds)
        self._images = 0
        self._busy = 0.0
        self._began = 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin to time a step."""
        self._began = monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Tensor, batch_idx: int
    ) -> None:
        """Write a line when it is time."""
        assert isinstance(pl_module, TokenizerModule)
        self._images += len(batch) * trainer.world_size
        self._busy += monotonic() - self._began
        if trainer.is_global_zero and self._interval.due(pl_module.seconds):
            log.info("%s", self._line(trainer, pl_module))
            self._images, self._busy = 0, 0.0

    def _line(self, trainer: Trainer, module: TokenizerModule) -> str:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = self._images / self._busy
        return (
            f"step {module.batches} | {module.seconds / 60:.1f} min, {min(1.0, module.progress):.1%} | "
            f"{rate:.1f} images/s | loss {values.get('train/loss', float('nan')):.5f} | "
            f"lr {values.get('train/lr', float('nan')):.2e}"
        )
