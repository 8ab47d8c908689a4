import pytest

from onedpiece.training.optimizer import ScheduleConfig, ramp, warmup_cosine


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (0.0, 0.0),
        (0.05, 0.5),  # half of a warm-up of 0.1
        (0.1, 1.0),
        (0.55, 0.6),  # half of the cosine: 0.2 + 0.8 · ½ (1 + cos ½π) = 0.2 + 0.4
        (1.0, 0.2),
        (1.5, 0.2),  # held after the end
    ],
)
def test_rate_at_known_points(progress: float, expected: float) -> None:
    assert warmup_cosine(progress, warmup=0.1, min_lr_ratio=0.2) == pytest.approx(expected)


def test_a_rate_may_stay_at_its_peak() -> None:
    schedule = ScheduleConfig(steps=4, warmup=0.5, min_lr_ratio=1.0)
    assert [schedule.lr_scale(at / 4) for at in range(5)] == [0, 0.5, 1, 1, 1]


def test_no_warmup_starts_at_the_peak() -> None:
    assert warmup_cosine(0.0, warmup=0.0, min_lr_ratio=0.0) == 1.0


def test_minutes_drive_the_progress_whatever_the_steps() -> None:
    schedule = ScheduleConfig(minutes=2)
    # 30 s of 120 s
    assert schedule.progress(seconds=30, steps=999) == 0.25


def test_steps_drive_the_progress_whatever_the_time() -> None:
    assert ScheduleConfig(steps=8).progress(seconds=1e9, steps=2) == 0.25


@pytest.mark.parametrize("given", [{}, {"minutes": 1.0, "steps": 5}])
def test_length_is_given_once(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="exactly one of minutes and steps"):
        ScheduleConfig(**given)


@pytest.mark.parametrize("given", [{"steps": 0}, {"steps": -1}, {"minutes": 0.0}, {"minutes": -5.0}])
def test_a_run_has_a_length(given: dict[str, float]) -> None:
    ((name, value),) = given.items()
    with pytest.raises(ValueError, match=rf"schedule\.{name} is {value}; use more than 0"):
        ScheduleConfig(**given)


@pytest.mark.parametrize("given", [{"warmup": 1.0}, {"min_lr_ratio": -0.1}])
def test_shares_are_checked(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="warmup"):
        ScheduleConfig(steps=1, **given)


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.39, 0.0), (0.4, 0.0), (0.45, 0.5), (0.5, 1.0), (0.9, 1.0)]
)
def test_ramp(progress: float, expected: float) -> None:
    # from 0.4 over 0.1
    assert ramp(progress, 0.4, 0.1) == pytest.approx(expected)


def test_ramp_of_no_length_is_a_step() -> None:
    assert (ramp(0.49, 0.5, 0.0), ramp(0.5, 0.5, 0.0)) == (0.0, 1.0)
