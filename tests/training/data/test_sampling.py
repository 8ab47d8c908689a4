from itertools import islice

import torch

from onedpiece.training.data.sampling import Place, batch_rows, endless_rows


def test_an_epoch_draws_every_row_once() -> None:
    rows = torch.cat([batch_rows(number, 12, 4, seed=0) for number in range(3)])
    assert sorted(rows.tolist()) == list(range(12))


def test_batches_reach_over_the_border_of_epochs() -> None:
    drawn = torch.cat([batch_rows(number, 5, 4, seed=1) for number in range(5)]).tolist()
    # 20 rows are four epochs of 5
    assert all(sorted(drawn[start : start + 5]) == list(range(5)) for start in (0, 5, 10, 15))


def test_batch_larger_than_the_set() -> None:
    counts = torch.bincount(batch_rows(0, 4, 10, seed=0), minlength=4)
    # 10 = 2 whole epochs of 4 and half of a third
    assert sorted(counts.tolist()) == [2, 2, 3, 3]


def test_processes_share_an_epoch() -> None:
    rows = torch.cat([batch_rows(0, 8, 4, seed=0, place=Place(rank, 2)) for rank in range(2)])
    assert sorted(rows.tolist()) == list(range(8))


def test_starting_late_goes_on_the_same() -> None:
    whole = list(islice(endless_rows(0, 7, 3, seed=5), 6))
    late = list(islice(endless_rows(4, 7, 3, seed=5), 2))
    assert [rows.tolist() for rows in whole[4:]] == [rows.tolist() for rows in late]


def test_seed_changes_the_order() -> None:
    assert batch_rows(0, 50, 50, seed=0).tolist() != batch_rows(0, 50, 50, seed=1).tolist()
