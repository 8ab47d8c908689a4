import os

import pytest
import torch

from onedpiece.evaluation.baselines import WORTH_A_POOL, score_in_worker, start_executor, usable_cores
from onedpiece.evaluation.photos import Photo


def test_few_jobs_stay_in_this_process() -> None:
    with start_executor(WORTH_A_POOL - 1) as executor:
        assert executor.submit(os.getpid).result() == os.getpid()
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result()


def test_one_worker_is_this_process() -> None:
    with start_executor(100, workers=1) as executor:
        assert list(executor.map(divmod, [7], [2])) == [(3, 1)]


@pytest.mark.slow
def test_pool_of_single_threaded_processes(photos: list[Photo]) -> None:
    with start_executor(100, workers=2) as executor:
        assert executor.submit(os.getpid).result() != os.getpid()
        assert executor.submit(torch.get_num_threads).result() == 1
        there = executor.submit(score_in_worker, 0, photos[0], "webp", (96,), ("psnr",)).result()
    assert there == score_in_worker(0, photos[0], "webp", (96,), ("psnr",))


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS and Windows
    assert usable_cores() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
