"""Training time that goes on counting over a stop and a resume."""

from collections.abc import Callable
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
