"""What happens beside training: weights, checkpoints, pictures, text, and a clean end on a signal."""

import logging
import signal
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image
from torch import Tensor

from onedpiece.errors import PictureError, ShardError
from onedpiece.tokenizer import Tokenizer
from onedpiece.training.base_module import Monitor, TrainingModule
from onedpiece.training.metrics import counts_within
from onedpiece.training.tokenizer_module import TokenizerModule

log = logging.getLogger(__name__)

LAST, BEST = "last.ckpt", "best.ckpt"
"""Names of the checkpoints in a run's folder `checkpoints`."""


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


class StopSignal(SystemExit):
    """A signal ended the run at the border of two steps; the exit status is 128 and the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)


class StopOnSignal(Callback):
    """Ends a run on Ctrl-C or SIGTERM behind the step in progress, so that what is written is whole.

    A second Ctrl-C ends it at once. The trainer puts the handlers before back when it is done.
    """

    def __init__(self) -> None:
        self._module: TrainingModule | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over; Lightning's own handler would end the run with status 0."""
        assert isinstance(pl_module, TrainingModule)
        self._module = pl_module
        try:
            for each in (signal.SIGINT, signal.SIGTERM):
                signal.signal(each, self._note)
        except ValueError:
            log.debug("not the main thread: signals are left as they are")

    def _note(self, signum: int, frame: FrameType | None) -> None:
        assert self._module is not None
        self._module.received_signal = signum
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Leave, once all processes know and no gradient is half accumulated."""
        assert isinstance(pl_module, TrainingModule)
        # Alone, what came in during this step counts already; several agree at the next step's beginning.
        signum = pl_module.received_signal if trainer.world_size == 1 else pl_module.stop_signal
        if signum and pl_module.at_step_boundary:
            raise StopSignal(signum)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Leave a validation too, where no other process waits in it."""
        assert isinstance(pl_module, TrainingModule)
        if pl_module.received_signal and trainer.world_size == 1:
            raise StopSignal(pl_module.received_signal)


class Periodic(Callback):
    """Calls `write` when its interval is over, when training ends, and when a signal or its data end it.

    Nothing is written under `fast_dev_run`, nor by a run that has diverged.

    Args:
        minutes: training time between two calls; 0: only at the end.
        folder: where the files go; None: a place in the trainer's `default_root_dir`.
    """

    def __init__(self, minutes: float, folder: str | None) -> None:
        self.folder = folder
        self._interval = Interval(60 * minutes)
        self._began_at = 0

    @abstractmethod
    def write(self, trainer: Trainer, module: TrainingModule) -> None:
        """Write; every process is asked, and the weights are finite."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        assert isinstance(pl_module, TrainingModule)
        self._interval.restart(pl_module.seconds)
        self._began_at = pl_module.batches

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write when it is time."""
        assert isinstance(pl_module, TrainingModule)
        if pl_module.at_step_boundary and self._interval.due(pl_module.seconds):
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the result."""
        assert isinstance(pl_module, TrainingModule)
        self._write(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write what a signal interrupted, or data that cannot be read: both come between two steps.

        After another error the state may be half a step's; and where several processes train, the others
        know nothing of one's data and would not take part.
        """
        assert isinstance(pl_module, TrainingModule)
        of_data = isinstance(exception, ShardError | PictureError) and trainer.world_size == 1
        whole = isinstance(exception, StopSignal) or (of_data and pl_module.at_step_boundary)
        if whole and pl_module.batches > self._began_at:
            self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, module: TrainingModule) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        module.check_finite()
        self.write(trainer, module)


class Checkpoints(Periodic):
    """Keeps `last.ckpt`, renewed every few minutes and at the end, and `best.ckpt` of the best validation.

    Resume with `--ckpt_path last`.

    Args:
        minutes: training time between two checkpoints; 0: only at the end.
        folder: where to; None: `checkpoints` in the trainer's `default_root_dir`.
        best: keep the checkpoint with the best of the module's `monitor` too.
    """

    def __init__(self, minutes: float = 10.0, folder: str | None = None, best: bool = True) -> None:
        super().__init__(minutes, folder)
        self.best = best
        self._best_score: float | None = None

    def path(self, trainer: Trainer, name: str) -> Path:
        """Return where the checkpoint of that name lies."""
        return Path(self.folder or Path(trainer.default_root_dir) / "checkpoints") / name

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here; a fresh run's best is not an older one's."""
        super().on_train_start(trainer, pl_module)
        assert isinstance(pl_module, TrainingModule)
        if pl_module.batches == 0 and trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.path(trainer, BEST).unlink(missing_ok=True)

    def write(self, trainer: Trainer, module: TrainingModule) -> None:
        """Renew the last checkpoint."""
        path = self.path(trainer, LAST)
        self._save(trainer, path)
        if trainer.is_global_zero:
            log.info("checkpoint: %s", path)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the best, by what validation logged; it is the same in all processes."""
        assert isinstance(pl_module, TrainingModule)
        idle = trainer.sanity_checking or trainer.fast_dev_run  # type: ignore[attr-defined]
        if not self.best or idle or trainer.state.fn != TrainerFn.FITTING:
            return
        monitor = pl_module.monitor
        score = None if monitor is None else trainer.callback_metrics.get(monitor.name)
        if monitor is None or score is None or not self._improves(float(score), monitor):
            return
        pl_module.check_finite()
        self._best_score = float(score)
        self._save(trainer, self.path(trainer, BEST))

    def _improves(self, score: float, monitor: Monitor) -> bool:
        sign = 1 if monitor.larger_is_better else -1
        return sign * score > (-inf if self._best_score is None else sign * self._best_score)

    def _save(self, trainer: Trainer, path: Path) -> None:
        """Write beside, then rename."""
        partial = path.with_suffix(".partial")
        trainer.save_checkpoint(partial, weights_only=False)  # every process takes part in it
        if trainer.is_global_zero:
            partial.replace(path)

    def state_dict(self) -> dict[str, Any]:
        """Return the best score so far."""
        return {"best_score": self._best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._best_score = state_dict["best_score"]


class ExportWeights(Periodic):
    """Writes what was learned, averaged where the module averages, every few minutes and at the end.

    Args:
        minutes: training time between two exports; 0: only at the end.
        folder: where to: for tokenizers a folder, for heads and classifiers the file's own path; None: the
            module's `export_name` in the trainer's `default_root_dir`.
    """

    def __init__(self, minutes: float = 5.0, folder: str | None = None) -> None:
        super().__init__(minutes, folder)

    def write(self, trainer: Trainer, module: TrainingModule) -> None:
        """Export from the first process."""
        if trainer.is_global_zero:
            path = Path(self.folder or Path(trainer.default_root_dir) / module.export_name)
            log.info("step %d: weights are in %s", module.steps, module.export(path))


@torch.no_grad()
def reconstruction_grid(
    tokenizer: Tokenizer, x: Tensor, counts: Sequence[int], sharpness: float = 0.0
) -> Tensor:
    """Return (3, B·H, (1 + len(counts))·W) in [0, 1]: a row a picture, the original first.

    Args:
        tokenizer: what to look at.
        x: (B, 3, H, W) in [0, 1].
        counts: tokens to decode, one column each.
        sharpness: of these.
    """
    with torch.autocast(x.device.type, enabled=False):
        indices = tokenizer.tokenize(x)
        columns = [x, *(tokenizer.detokenize(indices[:, :count], sharpness=sharpness) for count in counts)]
    return torch.cat(columns, dim=3).transpose(0, 1).flatten(1, 2)


def prefix_table(metrics: Mapping[str, Any]) -> str:
    """Return what validation found at each token count as a Markdown table; "" where it found nothing.

    Args:
        metrics: numbers by name, as `val/psnr_32`; other names are left out.
    """
    found: dict[int, dict[str, float]] = {}
    for name, value in metrics.items():
        what, _, count = name.removeprefix("val/").rpartition("_")
        if name.startswith("val/") and count.isdecimal():
            found.setdefault(int(count), {})[what] = float(value)
    if not found:
        return ""
    columns = sorted({what for row in found.values() for what in row}, reverse=True)
    rows = [[str(count), *(f"{found[count][what]:.4g}" for what in columns)] for count in sorted(found)]
    lines = [["tokens", *columns], ["---:"] * (1 + len(columns)), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


class ReconstructionGrid(Callback):
    """Writes a grid at every validation, to PNG and to TensorBoard where that logger is in use.

    TensorBoard gets a table of what validation found at each token count, too.

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
        idle = trainer.sanity_checking or trainer.fast_dev_run  # type: ignore[attr-defined]
        if batch_idx or not self.images or idle or not trainer.is_global_zero:
            return
        tokenizer = pl_module.averaged
        counts = counts_within(pl_module.validation.counts, tokenizer.config.num_tokens)
        grid = reconstruction_grid(tokenizer, batch[: self.images], counts, pl_module.sharpness)
        _write_png(grid, Path(self.folder or Path(trainer.default_root_dir) / "pictures"), pl_module.steps)
        for logger in _tensorboards(trainer):
            logger.experiment.add_image("reconstructions", grid, pl_module.steps)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the table."""
        assert isinstance(pl_module, TokenizerModule)
        table = prefix_table(trainer.callback_metrics)
        if trainer.sanity_checking or not table:
            return
        for logger in _tensorboards(trainer):
            logger.experiment.add_text("prefixes", table, pl_module.steps)


def _tensorboards(trainer: Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def _write_png(grid: Tensor, folder: Path, step: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = grid.mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels).save(folder / f"step-{step:07d}.png")


class TextProgress(Callback):
    """Logs step, minutes, samples a second (validation included), the mean loss and the learning rate.

    Args:
        seconds: between two lines; 0: none.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        self._interval = Interval(seconds)
        self._losses: list[Tensor] = []
        self._samples = 0
        self._since = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        self._since = monotonic()
        self._interval.restart(self._since)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Mapping[str, Any] | Tensor | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write a line when it is time."""
        if self._interval.seconds <= 0 or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, TrainingModule)
        assert isinstance(outputs, Mapping)
        self._samples += pl_module.batch_size(batch) * trainer.world_size
        # Where Lightning accumulates batches, it hands over a batch's share of the step's mean.
        self._losses.append(outputs["loss"].detach() * trainer.accumulate_grad_batches)
        if self._interval.due(monotonic()):
            log.info("%s", self._line(pl_module))
            self._losses, self._samples, self._since = [], 0, monotonic()

    def _line(self, module: TrainingModule) -> str:
        loss = float(torch.stack(self._losses).mean())
        rate = self._samples / (monotonic() - self._since)
        return (
            f"step {module.steps} | {module.seconds / 60:.1f} min, {min(1.0, module.progress):.1%} | "
            f"{rate:.1f} samples/s | loss {loss:.5f} | lr {module.lr:.2e}"
        )
