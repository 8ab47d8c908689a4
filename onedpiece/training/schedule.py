"""How far a run is, and what follows from it: learning rate and loss weights as functions of progress.

Progress by time is by a clock that goes on counting over a stop and a resume.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from time import monotonic, process_time
from typing import Literal

Source = Literal["wall", "processor"]
"""`wall` is what a user waits; `processor` counts this process's own work, whatever else the machine does."""

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

    Raises:
        ValueError: on construction, not exactly one of `minutes` and `steps`, or a share out of range.
    """

    minutes: float | None = None  # training time, validation included: the run is a time box
    steps: int | None = None  # the alternative, in optimizer steps: for comparisons at equal steps
    warmup: float = 0.02  # share of the run; Adam's second moments are not to be trusted before
    min_lr_ratio: float = 0.02  # share of the peak rate at the end; EMA averages what is left of the noise
    clock: Source = "wall"  # what a minute is; `processor` is fair to comparisons on a machine that is shared

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError(
                f"schedule needs exactly one of minutes and steps, got {self.minutes} and {self.steps}; "
                f"set the other to null"
            )
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
