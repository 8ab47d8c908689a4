"""Photos a second of several networks, measured in turns in one process."""

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor


class Rate(NamedTuple):
    """One network's speed: `per_second` photos, and `share` of the time that the first one takes."""

    name: str
    per_second: float
    share: float


@torch.inference_mode()
def rates(calls: Mapping[str, Callable[[], Tensor]], photos: int, rounds: int = 9) -> list[Rate]:
    """Time each call in every round, so that what disturbs the machine disturbs all alike.

    Args:
        calls: by name; each processes `photos` photos.
        photos: in a call.
        rounds: the median of so many counts; one more before them warms up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = perf_counter()
            call()
            seconds[name].append(perf_counter() - start)
    typical = {name: median(times[1:]) for name, times in seconds.items()}
    first = next(iter(typical.values()))
    return [Rate(name, photos / time, time / first) for name, time in typical.items()]
