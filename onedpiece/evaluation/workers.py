"""Processes for work that one core does: the classical encoders and the metrics on their files."""

import ctypes
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import suppress
from typing import Any

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h

WORTH_A_POOL = 8
"""Fewer jobs than these are done sooner here: a new process spends ten seconds on importing torch."""


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def start_executor(jobs: int, workers: int | None = None) -> Executor:
    """Return what runs so many jobs: this process, or a pool of single-threaded ones.

    Args:
        jobs: how many there will be, each of about a second.
        workers: processes; 1 is this one. None: as many as cores, where the jobs are worth starting them.
    """
    count = min(jobs, workers or (usable_cores() if jobs >= WORTH_A_POOL else 1))
    if count <= 1:
        return _ThisProcess()
    # A forked child would inherit torch's thread pools in whatever state they are in.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    torch.set_num_threads(1)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Tell glibc, where there is one, to keep large blocks for the next metric.

    It would give them back to the system every time, and taking them anew cost half of the time of SSIM.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for option, value in ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, (1 << 31) - 1)):
            libc.mallopt(option, value)


class _ThisProcess(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
