"""Optimizers, averaged weights, and how far a run has come: its clock, its schedule and its learning rate."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from math import cos, pi
from time import monotonic, process_time
from typing import Generic, Literal, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

Source = Literal["wall", "processor"]
"""`wall` is what a user waits; `processor` counts this process's own work, whatever else the machine does."""

Model = TypeVar("Model", bound=nn.Module)

SOURCES: dict[Source, Callable[[], float]] = {"wall": monotonic, "processor": process_time}


class Clock:
    """Seconds spent training, this process and the ones it was resumed from.

    Args:
        now: a monotonic source of seconds; tests pass their own.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._before = 0.0
        self._started: float | None = None

    def start(self) -> None:
        """Begin to count, if the clock does not run already."""
        if self._started is None:
            self._started = self._now()

    def stop(self) -> None:
        """Cease to count and keep what there is."""
        self._before = self.seconds
        self._started = None

    @property
    def seconds(self) -> float:
        """Seconds counted so far."""
        return self._before + (0.0 if self._started is None else self._now() - self._started)

    def set(self, seconds: float) -> None:
        """Go on from `seconds`, as a checkpoint has stored them."""
        self._before = seconds
        if self._started is not None:
            self._started = self._now()


@dataclass(frozen=True)
class ScheduleConfig:
    """The length of a run, in minutes or in steps, and the shape of the learning rate over it.

    Attributes:
        minutes: training time, validation included: the run is a time box.
        steps: the alternative, in optimizer steps: for comparisons at equal steps.
        warmup: share of the run; Adam's second moments are not to be trusted before.
        min_lr_ratio: share of the peak rate at the end; EMA averages what is left of the noise.
        clock: what a minute is; `processor` is fair to comparisons on a machine that is shared.

    Raises:
        ValueError: on construction, not exactly one of `minutes` and `steps`, or a number out of range.
    """

    minutes: float | None = None
    steps: int | None = None
    warmup: float = 0.02
    min_lr_ratio: float = 0.02
    clock: Source = "wall"

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError(
                f"schedule needs exactly one of minutes and steps, got {self.minutes} and {self.steps}; "
                f"set the other to null"
            )
        name, length = ("steps", self.steps) if self.minutes is None else ("minutes", self.minutes)
        if length is None or length <= 0:
            raise ValueError(f"schedule.{name} is {length}; use more than 0")
        if not 0 <= self.warmup < 1 or not 0 <= self.min_lr_ratio <= 1:
            raise ValueError(
                f"schedule.warmup and schedule.min_lr_ratio are shares of the run and of the peak rate: "
                f"use 0 ≤ warmup < 1 and 0 ≤ min_lr_ratio ≤ 1, got {self.warmup} and {self.min_lr_ratio}"
            )

    def progress(self, seconds: float, steps: int) -> float:
        """Return how much of the run is done, 0 at the start and 1 or more at its end.

        Args:
            seconds: training time so far.
            steps: optimizer steps so far.
        """
        if self.steps is not None:
            return steps / self.steps
        assert self.minutes is not None
        return seconds / (60.0 * self.minutes)

    def lr_scale(self, progress: float) -> float:
        """Return the learning rate at `progress` as a share of its peak (see `warmup_cosine`)."""
        return warmup_cosine(progress, self.warmup, self.min_lr_ratio)


def warmup_cosine(progress: float, warmup: float, min_lr_ratio: float) -> float:
    """Linear warm-up to 1, then half a cosine down to `min_lr_ratio`.

    Args:
        progress: share of the run that is done; held at 1 after the end.
        warmup: share of the run spent warming up, in [0, 1).
        min_lr_ratio: value at the end, in [0, 1].
    """
    if progress < warmup:
        return progress / warmup
    done = min(1.0, (progress - warmup) / (1.0 - warmup))
    return min_lr_ratio + (1.0 - min_lr_ratio) * 0.5 * (1.0 + cos(pi * done))


def ramp(progress: float, start: float, length: float) -> float:
    """Return 0 up to `start`, 1 from `start + length` on, and a straight line between."""
    if progress < start:
        return 0.0
    return 1.0 if length <= 0 else min(1.0, (progress - start) / length)


_TABLES = ("embedding", "latent_tokens", "mask_token")
"""Ends of the names of learned vectors: nothing multiplies them, so decay would only pull them to zero."""


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer's numbers; Muon takes the same rate, its steps scaled to the size of AdamW's.

    Attributes:
        lr: the peak rate; the schedule scales it.
        betas: a short memory of squares, as usual for transformers.
        weight_decay: of matrices; biases and norms have none.
        clip: largest norm of the gradient; 0: no clipping.
        matrices: what steps them; configs/README.md compares the two.
    """

    lr: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.02
    clip: float = 1.0
    matrices: Literal["adamw", "muon"] = "adamw"


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Say whether weight decay is for this parameter: matrices and kernels, not biases, norms or tables."""
    return parameter.ndim >= 2 and not name.endswith(_TABLES)


def build_optimizers(modules: Iterable[nn.Module], config: OptimizerConfig) -> list[Optimizer]:
    """Return the optimizers that together move every trainable parameter of `modules` once.

    Muon (Jordan et al. 2024, `torch.optim.Muon`) makes each step of a matrix orthogonal; it takes what has
    two axes and decays, AdamW the rest.
    """
    named = [pair for module in modules for pair in module.named_parameters() if pair[1].requires_grad]
    if config.matrices == "adamw":
        return [_adamw(named, config)]
    matrices = [p for name, p in named if _is_matrix(name, p)]
    rest = [(name, p) for name, p in named if not _is_matrix(name, p)]
    optimizers: list[Optimizer] = [_adamw(rest, config)] if rest else []
    if matrices:
        from torch.optim import Muon  # from torch 2.9 on

        optimizers.append(Muon(matrices, config.lr, config.weight_decay, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def build_optimizer(modules: Iterable[nn.Module], config: OptimizerConfig) -> AdamW:
    """Return AdamW over the trainable parameters of `modules`, in two groups (see `decays`).

    Raises:
        ValueError: the config asks for Muon, which takes two optimizers and manual optimisation.
    """
    if config.matrices != "adamw":
        raise ValueError(f"optimizer.matrices is {config.matrices}, which this training has not; use adamw")
    named = [pair for module in modules for pair in module.named_parameters() if pair[1].requires_grad]
    return _adamw(named, config)


def _is_matrix(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and decays(name, parameter)


def _adamw(named: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig) -> AdamW:
    named = list(named)
    groups = [
        {"params": [p for name, p in named if decays(name, p)], "weight_decay": config.weight_decay},
        {"params": [p for name, p in named if not decays(name, p)], "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=config.lr, betas=config.betas)


def train_only(module: nn.Module, parts: tuple[str, ...]) -> None:
    """Freeze everything in `module` but the children called `parts`; no parts: freeze nothing.

    Raises:
        ValueError: there is no such child.
    """
    if not parts:
        return
    children = dict(module.named_children())
    unknown = sorted(set(parts) - set(children))
    if unknown:
        raise ValueError(f"train_parts names {', '.join(unknown)}; the tokenizer has {', '.join(children)}")
    module.requires_grad_(False)
    for name, child in children.items():
        child.requires_grad_(name in parts)
        child.train(name in parts)  # a codebook that follows by moving averages has to stand still too


def learns(module: nn.Module, except_for: str) -> bool:
    """Say whether `module` has a trainable parameter outside its child `except_for`."""
    prefix = f"{except_for}."
    return any(p.requires_grad for name, p in module.named_parameters() if not name.startswith(prefix))


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
        averages: list[Tensor] = list(self.average.parameters())
        values = [p.to(mine.dtype) for mine, p in zip(averages, model.parameters(), strict=True)]
        torch._foreach_lerp_(averages, values, weight)
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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # In bfloat16 an average would stand still: what one step adds is below its last digit.
        def convert(tensor: Tensor) -> Tensor:
            made = fn(tensor)
            return tensor.to(made.device) if made.itemsize < tensor.itemsize else made

        converted: Self = super()._apply(convert, recurse)  # type: ignore[no-untyped-call]
        return converted

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._count = int(self.updates)
