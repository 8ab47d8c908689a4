"""What all training modules share: schedule, clock, learning rate, one clip, stop, guard and resume state."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from onedpiece.errors import TrainingError
from onedpiece.training.data.sampling import generator_for
from onedpiece.training.optimizer import SOURCES, Clock, OptimizerConfig, ScheduleConfig, build_optimizers

CHECK_EVERY = 20
"""Batches between two looks at the guard on an accelerator: each look waits for the device."""


class Monitor(NamedTuple):
    """The logged number that tells which checkpoint is best, and whether more of it is better."""

    name: str
    larger_is_better: bool


class TrainingModule(LightningModule):
    """Base of the modules: a subclass says what learns (`learners`) and what is minimised (`step_loss`).

    With one optimizer, optimisation is Lightning's automatic one; with several (Muon beside AdamW, a
    discriminator) steps are made by hand, and the trainer's options mean the same: `take_over` hands them to
    the module. Either way the learning rate is the schedule's, the clip is `optimizer.clip` unless
    `trainer.gradient_clip_val` says otherwise, and `max_steps` counts steps of training, however many
    optimizers one takes.

    Args:
        schedule: length of the run and shape of the learning rate.
        optimizer: which optimizer, and its numbers.
        seed: of everything that a step draws.

    Attributes:
        batches: batches trained on, over all resumes; their number seeds each step.
        steps: optimizer steps taken, over all resumes.
        seconds: training time at the last step's beginning, the same in all processes.
        lr: the learning rate of the last step.
        received_signal: number of the signal that asks this process to stop; 0: none.
        stop_signal: the same, as all processes have agreed on it.
        accumulated: batches a step where steps are made by hand; else the trainer counts them.
        trainer_clip: the trainer's clip and its algorithm, likewise; None: `optimizer.clip` of the norm.
    """

    export_name: ClassVar[str] = "weights"
    """What `export` writes, in the run's folder."""

    def __init__(self, schedule: ScheduleConfig, optimizer: OptimizerConfig, seed: int) -> None:
        super().__init__()
        self.schedule, self.optimizer_config, self.seed = schedule, optimizer, seed
        self.automatic_optimization = optimizer.matrices == "adamw"
        self.clock = Clock(SOURCES[schedule.clock])
        self.batches = self.steps = 0
        self.seconds = self.lr = 0.0
        self.received_signal = self.stop_signal = 0
        self.accumulated = 1
        self.trainer_clip: tuple[float, str] | None = None
        self._validated_at = 0.0
        self._by_own_loss: tuple[str, ...] = ()
        self._bad_batch = torch.tensor(-1)  # the first whose loss or gradient was not finite

    @abstractmethod
    def learners(self) -> Sequence[nn.Module]:
        """Return the modules whose parameters the optimizers move."""

    @abstractmethod
    def step_loss(self, batch: Any, generator: torch.Generator) -> Tensor:
        """Return the scalar loss of a batch; draws come from `generator`, which is on the CPU."""

    @abstractmethod
    def export(self, path: Path) -> Path:
        """Write what was learned to `path`, whole or not at all, and return it."""

    @property
    def monitor(self) -> Monitor | None:
        """What tells which checkpoint is best; None: nothing does."""
        return None

    def batch_size(self, batch: Any) -> int:
        """Return how many samples a batch has."""
        return len(batch)

    def update_average(self) -> None:
        """Move the averaged weights, where a module keeps any; called after each optimizer step."""
        return

    @property
    def progress(self) -> float:
        """Share of the run that is done."""
        return self.schedule.progress(self.seconds, self.steps)

    @property
    def at_step_boundary(self) -> bool:
        """Whether no gradient is being accumulated, so that a checkpoint misses nothing."""
        return self.batches % (self.accumulated * self.trainer.accumulate_grad_batches) == 0

    @property
    def ends_step(self) -> bool:
        """Whether the batch in progress is the last of those that make a step by hand."""
        return (self.batches + 1) % self.accumulated == 0

    def setup(self, stage: str) -> None:
        """Refuse, by name, what this module does not do.

        Raises:
            ValueError: see `check_trainer`.
        """
        if stage == "fit":
            check_trainer(self.trainer)

    def configure_optimizers(self) -> list[Optimizer]:
        """Return the learners' optimizers; their rates are set before each step."""
        return build_optimizers(self.learners(), self.optimizer_config)

    def on_train_start(self) -> None:
        """End a run at once that was over already."""
        self._validated_at = monotonic()
        self._stop_when_done()

    def on_validation_end(self) -> None:
        """Count the time to the next validation from here."""
        self._validated_at = monotonic()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End the run behind the last step of its schedule."""
        self._stop_when_done()

    def on_train_end(self) -> None:
        """Stop the clock."""
        self.clock.stop()

    def _stop_when_done(self) -> None:
        self.trainer.should_stop = self.trainer.should_stop or self.progress >= 1

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Train on a batch, and return its loss."""
        generator = self.begin_step()
        loss = self.step_loss(batch, generator)
        self.guard(loss)
        if not self.automatic_optimization:
            self.step_by_hand(self.manual_optimizers(), loss, self.lr)
            if self.ends_step:
                self.after_step()
        self.end_batch(loss)
        return loss if self.automatic_optimization else loss.detach()

    def begin_step(self) -> torch.Generator:
        """Read the clock, set the learning rate, and return the generator of what this step draws."""
        every: float | None = self.trainer._val_check_time_interval  # type: ignore[attr-defined]
        validates = every is not None and monotonic() - self._validated_at >= every
        state = (self.clock.seconds, self.received_signal, validates)
        if self.trainer.world_size > 1:
            # Processes must agree: rates, loss weights and the end follow from the time.
            state = self.trainer.strategy.broadcast(state)
            # Lightning asks each process's own clock; one that validates alone would wait for ever.
            self.trainer._last_val_time = -inf if state[2] else inf  # type: ignore[attr-defined]
        self.seconds, self.stop_signal, _ = state
        self.lr = self.optimizer_config.lr * self.schedule.lr_scale(self.progress)
        if self.automatic_optimization:
            set_lr(self.trainer.optimizers, self.lr)
        return generator_for("cpu", "step", self.seed, self.global_rank, self.batches)

    def end_batch(self, loss: Tensor) -> None:
        """Count the batch, log how the run is doing, and look at the guard now and then."""
        self.batches += 1
        self.log_dict({"train/loss": loss.detach(), "train/lr": self.lr, "train/minutes": self.seconds / 60})
        if loss.device.type == "cpu" or self.batches % CHECK_EVERY == 0:
            self.check_finite()

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step in automatic optimisation: not later, since checkpoints are written before further hooks."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.after_step()

    def after_step(self) -> None:
        """Count an optimizer step and average the weights; the first one starts the clock.

        Behind the first step, and not before: compilation must not eat a warm-up that is a share of the time.
        """
        self.steps += 1
        self.update_average()
        self.clock.start()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip in automatic optimisation, where gradients are unscaled by now."""
        if gradient_clip_val is not None:
            self.trainer_clip = (gradient_clip_val, gradient_clip_algorithm or "norm")
        self._clip([optimizer], scale=1.0)

    def manual_optimizers(self) -> list[LightningOptimizer]:
        """Return all optimizers as manual optimisation uses them."""
        optimizers = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    def step_by_hand(
        self,
        optimizers: Sequence[LightningOptimizer],
        loss: Tensor,
        lr: float,
        gradient: Tensor | None = None,
        name: str | None = "train/grad_norm",
        synced: bool = True,
        clip: bool = True,
    ) -> None:
        """Minimise `loss` by several optimizers, under one clip over all their parameters.

        With `accumulated` batches a step, their mean loss is minimised behind the last of them.

        Args:
            optimizers: which step.
            loss: a scalar, or of any shape with `gradient`.
            lr: their learning rate.
            gradient: of the loss, shaped as it; None: 1.
            name: what the gradient's norm is logged as; None: not at all.
            synced: whether the strategy averages these gradients over processes; False: it is done here.
            clip: whether to clip.
        """
        set_lr(optimizers, lr)
        if self.batches % self.accumulated == 0:
            for optimizer in optimizers:
                optimizer.zero_grad()
        with nullcontext() if synced and self.ends_step else self._unsynced():
            self.manual_backward(loss / self.accumulated, gradient)
        if not self.ends_step:
            return
        if not synced:
            for parameter in _with_gradients(optimizers):
                self.average_over_processes(parameter.grad)
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        self._clip(optimizers, 1.0 if scaler is None else scaler.get_scale(), name, clip)
        self._step(optimizers, scaler)

    def train_by_own_loss(self, *children: str) -> None:
        """Take discriminators out of data parallelism; their steps are `step_by_hand(synced=False)`.

        It waits for a gradient of all that it knows, and each backward pass gives it only theirs or only the
        rest's. Call it once they are built.
        """
        self._by_own_loss = children
        names = [name for name, _ in self.named_parameters() if name.split(".")[0] in children]
        self._ddp_params_and_buffers_to_ignore = names

    def on_fit_start(self) -> None:
        """Make children that data parallelism does not know the same in all processes."""
        for name in self._by_own_loss:
            for parameter in self.get_submodule(name).parameters():
                self.average_over_processes(parameter.data)  # equal where all were seeded alike

    def _unsynced(self) -> AbstractContextManager[None]:
        """Keep data parallelism from averaging the gradients of a backward pass inside."""
        block: Any = getattr(self.trainer.strategy, "block_backward_sync", nullcontext)
        context: AbstractContextManager[None] = block()
        return context

    def average_over_processes(self, tensor: Tensor) -> None:
        """Replace a tensor's values by their means over all processes."""
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(tensor)
            tensor /= self.trainer.world_size

    def _step(self, optimizers: Sequence[LightningOptimizer], scaler: Any) -> None:
        """Step; only the module's first optimizer tells the trainer, whose `global_step` counts it."""
        first = self.manual_optimizers()[0]
        for each in optimizers:
            if each is not first:
                each.optimizer.step() if scaler is None else scaler.step(each.optimizer)
        if first in optimizers:
            first.step()  # and with it the scaler's update
        elif scaler is not None:
            scaler.update()

    def _clip(
        self,
        optimizers: Sequence[Optimizer | LightningOptimizer],
        scale: float,
        name: str | None = "train/grad_norm",
        enabled: bool = True,
    ) -> None:
        """Clip gradients that are `scale` times too large, and log the norm that they had."""
        clip, algorithm = self.trainer_clip or (self.optimizer_config.clip, "norm")
        parameters = _with_gradients(optimizers)
        norm = nn.utils.get_total_norm([p.grad for p in parameters])
        if enabled and clip and algorithm == "value":
            nn.utils.clip_grad_value_(parameters, clip * scale)
        elif enabled and clip:
            nn.utils.clip_grads_with_norm_(parameters, clip * scale, norm)
        if name is not None:
            self.log(name, norm / scale)
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            self.guard(norm)  # a scaler finds infinite gradients itself, and skips their step

    def guard(self, value: Tensor) -> None:
        """Remember this batch if `value` is not finite; only `check_finite` waits for the device."""
        value = value.detach()
        before = self._bad_batch.to(value.device)
        bad = ~torch.isfinite(value).all() & (before < 0)
        self._bad_batch = torch.where(bad, torch.full_like(before, self.batches), before)

    def check_finite(self) -> None:
        """Stop a run that has diverged; all processes must ask together.

        Raises:
            TrainingError: a loss or a gradient was not finite; the message names its batch.
        """
        found = self._bad_batch.clone()
        if self.trainer.world_size > 1:
            found = self.trainer.strategy.reduce(found.to(self.device), reduce_op="max")
        if int(found) >= 0:
            raise TrainingError(
                f"loss or gradient was not finite at batch {int(found) + 1}; nothing was written since: "
                "resume from the last checkpoint with a lower model.optimizer.lr"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add how far the run is."""
        checkpoint["onedpiece"] = {
            "seconds": self.clock.seconds,
            "batches": self.batches,
            "steps": self.steps,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError: another program, or an older version of this one, wrote the checkpoint.
        """
        state = checkpoint.get("onedpiece", {})
        if not {"seconds", "batches", "steps"} <= state.keys():
            raise ValueError("this is no checkpoint of this version of onedpiece; start from its weights")
        self.clock.set(state["seconds"])
        self.seconds, self.batches, self.steps = state["seconds"], state["batches"], state["steps"]


def _groups(optimizers: Sequence[Optimizer | LightningOptimizer]) -> Iterator[dict[str, Any]]:
    for optimizer in optimizers:
        yield from optimizer.param_groups


def _with_gradients(optimizers: Sequence[Optimizer | LightningOptimizer]) -> list[Any]:
    return [p for group in _groups(optimizers) for p in group["params"] if p.grad is not None]


def set_lr(optimizers: Sequence[Optimizer | LightningOptimizer], lr: float) -> None:
    """Give every parameter group of the optimizers one learning rate."""
    for group in _groups(optimizers):
        group["lr"] = lr


def check_trainer(trainer: Trainer) -> None:
    """Refuse a precision that would break the arithmetic.

    Raises:
        ValueError: the message names what to set in its place.
    """
    if trainer.precision not in ("32-true", "16-mixed", "bf16-mixed", "bf16-true"):
        raise ValueError(
            f"trainer.precision is {trainer.precision}; use 32-true, bf16-mixed, bf16-true or 16-mixed"
        )


def take_over(trainer: Trainer, module: TrainingModule) -> None:
    """Let a module that steps by hand do what Lightning only does by itself: accumulate batches, and clip.

    Call it before `trainer.fit`; the commands do. Where optimisation is automatic it does nothing.
    """
    if module.automatic_optimization:
        return
    module.accumulated, trainer.accumulate_grad_batches = trainer.accumulate_grad_batches, 1
    if trainer.gradient_clip_val is not None:
        module.trainer_clip = (float(trainer.gradient_clip_val), trainer.gradient_clip_algorithm or "norm")
        trainer.gradient_clip_val = None
