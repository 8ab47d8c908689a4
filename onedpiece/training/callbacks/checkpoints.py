"""Checkpoints to resume from, by time."""

import logging
from pathlib import Path

from lightning.pytorch import Trainer

from onedpiece.training.callbacks.periodic import Periodic
from onedpiece.training.module import TokenizerModule

log = logging.getLogger(__name__)


class Checkpoints(Periodic):
    """Keeps `last.ckpt`, renewed every few minutes, and at the end.

    Resume with `--ckpt_path RUN/checkpoints/last.ckpt`.

    Args:
        minutes: training time between two checkpoints; 0: only at the end.
        folder: where to; None: `checkpoints` in the trainer's `default_root_dir`.
    """

    default_folder = "checkpoints"

    def __init__(self, minutes: float = 10.0, folder: str | None = None) -> None:
        super().__init__(minutes, folder)

    def write(self, trainer: Trainer, module: TokenizerModule, folder: Path) -> None:
        """Write beside, then rename."""
        path = folder / "last.ckpt"
        partial = path.with_suffix(".partial")
        trainer.save_checkpoint(partial, weights_only=False)  # every process takes part in it
        if trainer.is_global_zero:
            partial.replace(path)
            log.info("checkpoint: %s", path)
