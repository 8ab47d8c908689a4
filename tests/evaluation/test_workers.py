import os

import pytest
import torch

from onedpiece.evaluation.baselines import score_in_worker
from onedpiece.evaluation.photos import Photo
from onedpiece.evaluation.workers import WORTH_A_POOL, start_executor, usable_cores


def test_few_jobs_stay_in_this_process() -> None:
    with start_executor(WORTH_A_POOL - 1) as executor:
        assert executor.submit(os.getpid).result() == os.getpid()
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result()


def test_one_worker_is_this_process() -> None:
    with start_executor(100, workers=1) as executor:
        assert list(executor.map(divmod, [7], [2])) == [(3, 1)]


def test_pool_of_single_threaded_processes(photos: list[Photo]) -> None:
    with start_executor(100, workers=2) as executor:
        assert executor.submit(os.getpid).result() != os.getpid()
        assert executor.submit(torch.get_num_threads).result() == 1
        there = executor.submit(score_in_worker, photos[0], "webp", (96,), ("psnr",)).result()
    assert there == score_in_worker(photos[0], "webp", (96,), ("psnr",))


def test_at_least_one_core() -> None:
    assert usable_cores() >= 1
