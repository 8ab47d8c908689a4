"""What happens beside training: weights, checkpoints, pictures and a line of text now and then."""

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor

from onedpiece.tokenizer import Tokenizer
from onedpiece.training.metrics import counts_within
from onedpiece.training.tokenizer_module import TokenizerModule
from onedpiece.weights import save

log = logging.getLogger(__name__)


class Interval:
    """Tells when an interval of training time is over.

    Args:
        seconds: its length; 0 or less is never over.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._last = 0.0

    def restart(self, now: float) -> None:
        """Count from `now` on, in seconds."""
        self._last = now

    def due(self, now: float) -> bool:
        """Say whether the interval is over at `now`, and begin the next one if so."""
        if self.seconds <= 0 or now - self._last < self.seconds:
            return False
        self._last = now
        return True


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


@torch.no_grad()
def reconstruction_grid(tokenizer: Tokenizer, x: Tensor, counts: Sequence[int]) -> Tensor:
    """Return (3, B·H, (1 + len(counts))·W) in [0, 1]: a row a picture, the original first.

    Args:
        tokenizer: what to look at.
        x: (B, 3, H, W) in [0, 1].
        counts: tokens to decode, one column each.
    """
    with torch.autocast(x.device.type, enabled=False):
        indices = tokenizer.tokenize(x)
        columns = [x, *(tokenizer.detokenize(indices[:, :count]) for count in counts)]
    return torch.cat(columns, dim=3).transpose(0, 1).flatten(1, 2)


class Pictures(Callback):
    """Writes a grid at every validation, to PNG and to TensorBoard where that logger is in use.

    Args:
        images: rows; 0: no grids.
        folder: where the PNGs go; None: `pictures` in the trainer's `default_root_dir`.
    """

    def __init__(self, images: int = 6, folder: str | None = None) -> None:
        self.images = images
        self.folder = folder

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Tensor,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the first pictures of the set."""
        assert isinstance(pl_module, TokenizerModule)
        if batch_idx or not self.images or trainer.sanity_checking or not trainer.is_global_zero:
            return
        tokenizer = pl_module.averaged
        counts = counts_within(pl_module.validation.counts, tokenizer.config.num_tokens)
        grid = reconstruction_grid(tokenizer, batch[: self.images], counts)
        _write_png(grid, Path(self.folder or Path(trainer.default_root_dir) / "pictures"), pl_module.batches)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("reconstructions", grid, pl_module.batches)


def _write_png(grid: Tensor, folder: Path, step: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = grid.mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels).save(folder / f"step-{step:07d}.png")


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
