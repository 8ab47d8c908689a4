"""What all training modules share: schedule, clock, learning rate, one clip, stop, guard and resume state."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from onedpiece.errors import TrainingError
from onedpiece.training.data.sampling import generator_for
from onedpiece.training.optimizer import SOURCES, Clock, OptimizerConfig, ScheduleConfig, build_optimizers

Model = TypeVar("Model", bound=nn.Module)


def ramped_decay(updates: int, decay: float) -> float:
    """Return min(decay, (1 + t) / (10 + t)): an average over about the last tenth of a young run.

    Args:
        updates: number of updates before this one, t.
        decay: the limit, in [0, 1).
    """
    return min(decay, (1 + updates) / (10 + updates))


class Ema(nn.Module, Generic[Model]):
    """Averages the floating-point parameters of a model, and copies its buffers.

    Args:
        model: what to follow; a deep copy of it, without gradients, becomes `average`.
        decay: the limit of the decay (see `ramped_decay`); 0 follows the model exactly.
    """

    updates: Tensor

    def __init__(self, model: Model, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay is {decay}; use a value in [0, 1)")
        self.decay = decay
        self.average: Model = deepcopy(model).eval().requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._count = 0  # mirrors the buffer: reading that one on an accelerator would wait for it

    @torch.no_grad()
    def update(self, model: Model) -> None:
        """Move the average towards `model`: average ← d · average + (1 − d) · model."""
        weight = 1.0 - ramped_decay(self._count, self.decay)
        torch._foreach_lerp_(list(self.average.parameters()), list(model.parameters()), weight)
        for mine, theirs in zip(self.average.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)
        self._count += 1
        self.updates += 1

    @torch.no_grad()
    def copy_from(self, model: Model) -> None:
        """Start again from `model`, as after other weights were loaded into it."""
        self.average.load_state_dict(model.state_dict())
        self._count = 0
        self.updates.zero_()

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._count = int(self.updates)


CHECK_EVERY = 20
"""Batches between two looks at the guard on an accelerator: each look waits for the device."""


class Monitor(NamedTuple):
    """The logged number that tells which checkpoint is best, and whether more of it is better."""

    name: str
    larger_is_better: bool


class TrainingModule(LightningModule):
    """Base of the modules: a subclass says what learns (`learners`) and what is minimised (`step_loss`).

    With one optimizer, optimisation is Lightning's automatic one, so that `trainer.accumulate_grad_batches`
    and `16-mixed` work; with several (Muon beside AdamW, a discriminator) steps are made by hand. Either way
    the learning rate is the schedule's and the only clip is `optimizer.clip`.

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
        return self.batches % self.trainer.accumulate_grad_batches == 0

    def setup(self, stage: str) -> None:
        """Refuse, by name, what this module does not do.

        Raises:
            ValueError: see `check_trainer`.
        """
        if stage == "fit":
            check_trainer(self.trainer, self)

    def configure_optimizers(self) -> list[Optimizer]:
        """Return the learners' optimizers; their rates are set before each step."""
        return build_optimizers(self.learners(), self.optimizer_config)

    def on_train_start(self) -> None:
        """End a run at once that was over already."""
        self._stop_when_done()

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
            self.after_step()
        self.end_batch(loss)
        return loss if self.automatic_optimization else loss.detach()

    def begin_step(self) -> torch.Generator:
        """Read the clock, set the learning rate, and return the generator of what this step draws."""
        state = (self.clock.seconds, self.received_signal)
        if self.trainer.world_size > 1:
            # Processes must agree: rates, loss weights and the end follow from the time.
            state = self.trainer.strategy.broadcast(state)
        self.seconds, self.stop_signal = state
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
        """Clip by `optimizer.clip` in automatic optimisation, where gradients are unscaled by now."""
        self._clip([optimizer], self.optimizer_config.clip)

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
    ) -> None:
        """Minimise `loss` by one step of several optimizers, under one clip over all their parameters.

        Args:
            optimizers: which step.
            loss: a scalar, or of any shape with `gradient`.
            lr: their learning rate.
            gradient: of the loss, shaped as it; None: 1.
        """
        set_lr(optimizers, lr)
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss, gradient)
        self._clip(optimizers, self.optimizer_config.clip)
        for optimizer in optimizers:
            optimizer.step()

    def _clip(self, optimizers: Sequence[Optimizer | LightningOptimizer], largest: float) -> None:
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        parameters = [p for group in groups for p in group["params"] if p.grad is not None]
        if largest:
            norm = nn.utils.clip_grad_norm_(parameters, largest)
        else:
            norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
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


def set_lr(optimizers: Sequence[Optimizer | LightningOptimizer], lr: float) -> None:
    """Give every parameter group of the optimizers one learning rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr


def check_trainer(trainer: Trainer, module: TrainingModule) -> None:
    """Refuse options of the trainer that would be ignored, or would break the arithmetic.

    Raises:
        ValueError: one is set; the message names what to set in its place.
    """
    if trainer.gradient_clip_val:
        raise ValueError("trainer.gradient_clip_val does not apply here; set model.optimizer.clip")
    if trainer.precision not in ("32-true", "16-mixed", "bf16-mixed"):
        raise ValueError(
            f"trainer.precision is {trainer.precision}, and weights are trained in float32; "
            "use 32-true, bf16-mixed or 16-mixed"
        )
    if module.automatic_optimization:
        return
    if trainer.accumulate_grad_batches != 1:
        raise ValueError(
            "trainer.accumulate_grad_batches needs a run with one optimizer, and Muon or a discriminator "
            "bring another; leave it 1"
        )
    if trainer.precision == "16-mixed":
        raise ValueError(
            "trainer.precision 16-mixed needs a run with one optimizer, and Muon or a discriminator bring "
            "another; use bf16-mixed"
        )
