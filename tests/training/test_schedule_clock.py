from time import sleep

from onedpiece.training.optimizer import SOURCES, Clock


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_counts_only_while_it_runs() -> None:
    time = Time()
    clock = Clock(time)
    time.now = 105.0
    assert clock.seconds == 0.0
    clock.start()
    time.now = 112.0
    assert clock.seconds == 7.0  # 112 − 105
    clock.stop()
    time.now = 500.0
    assert clock.seconds == 7.0


def test_starting_twice_does_not_start_again() -> None:
    time = Time()
    clock = Clock(time)
    clock.start()
    time.now = 103.0
    clock.start()
    assert clock.seconds == 3.0


def test_goes_on_from_a_checkpoint() -> None:
    time = Time()
    clock = Clock(time)
    clock.set(60.0)
    clock.start()
    time.now = 104.0
    assert clock.seconds == 64.0  # 60 + 4
    clock.set(10.0)  # while it runs
    time.now = 105.0
    assert clock.seconds == 11.0


def test_the_processor_clock_does_not_count_waiting() -> None:
    clocks = Clock(SOURCES["wall"]), Clock(SOURCES["processor"])
    for clock in clocks:
        clock.start()
    sleep(0.2)
    wall, processor = (clock.seconds for clock in clocks)
    assert wall >= 0.2
    assert processor < 0.1  # of which a sleeping process takes next to none
