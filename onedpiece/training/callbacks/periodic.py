"""Files that are written every few minutes of training time, and at the end."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from onedpiece.training.callbacks.interval import Interval
from onedpiece.training.module import TokenizerModule


class Periodic(Callback):
    """Calls `write` when its interval is over, and once more when training ends.

    Args:
        minutes: training time between two calls; 0: only at the end.
        folder: where the files go; None: `default_folder` in the trainer's `default_root_dir`.
    """

    default_folder: str

    def __init__(self, minutes: float, folder: str | None) -> None:
        self.folder = folder
        self._interval = Interval(60 * minutes)

    @abstractmethod
    def write(self, trainer: Trainer, module: TokenizerModule, folder: Path) -> None:
        """Write into `folder`; every process is asked."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        assert isinstance(pl_module, TokenizerModule)
        self._interval.restart(pl_module.seconds)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write when it is time."""
        assert isinstance(pl_module, TokenizerModule)
        if self._interval.due(pl_module.seconds):
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the result."""
        assert isinstance(pl_module, TokenizerModule)
        self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, module: TokenizerModule) -> None:
        self.write(trainer, module, Path(self.folder or Path(trainer.default_root_dir) / self.default_folder))
