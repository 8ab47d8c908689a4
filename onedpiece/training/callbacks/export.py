"""Averaged weights on disk while training goes on: what users load, without the optimizer."""

import logging
from pathlib import Path

from lightning.pytorch import Trainer

from onedpiece.training.callbacks.periodic import Periodic
from onedpiece.training.module import TokenizerModule
from onedpiece.weights import save

log = logging.getLogger(__name__)


class ExportWeights(Periodic):
    """Writes the averaged tokenizer as float16 safetensors, every few minutes and at the end.

    Args:
        minutes: training time between two exports; 0: only at the end.
        folder: where to; None: `weights` in the trainer's `default_root_dir`.
    """

    default_folder = "weights"

    def __init__(self, minutes: float = 5.0, folder: str | None = None) -> None:
        super().__init__(minutes, folder)

    def write(self, trainer: Trainer, module: TokenizerModule, folder: Path) -> None:
        """Export from the first process."""
        if trainer.is_global_zero:
            log.info("step %d: weights are in %s", module.batches, save(module.averaged, folder))
