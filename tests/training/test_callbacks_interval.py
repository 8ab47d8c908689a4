from onedpiece.training.callbacks import Interval


def test_due_once_an_interval() -> None:
    interval = Interval(10)
    interval.restart(100)
    assert [now for now in (105, 110, 111, 119.9, 121) if interval.due(now)] == [110, 121]


def test_zero_is_never_due() -> None:
    assert not Interval(0).due(1e9)
