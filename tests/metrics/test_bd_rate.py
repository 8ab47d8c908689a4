import pytest

from onedpiece.errors import NoOverlapError, NotMonotoneError
from onedpiece.metrics.bd_rate import bd_quality, bd_rate

RATES = [96.0, 192.0, 384.0, 768.0]
QUALITIES = [18.0, 19.5, 21.5, 23.8]


def test_half_the_rate_everywhere() -> None:
    # The same qualities at half the bytes: −50 %.
    assert bd_rate(RATES, QUALITIES, [r / 2 for r in RATES], QUALITIES) == pytest.approx(-50.0)


def test_one_decibel_everywhere() -> None:
    assert bd_quality(RATES, QUALITIES, RATES, [q + 1 for q in QUALITIES]) == pytest.approx(1.0)


def test_agrees_with_the_bjontegaard_package() -> None:
    reference = pytest.importorskip("bjontegaard", reason="the bjontegaard package is not installed")
    rates, qualities = [100.0, 210.0, 350.0, 800.0], [18.6, 20.3, 21.6, 24.9]
    curves = (RATES, QUALITIES, rates, qualities)
    assert bd_rate(*curves) == pytest.approx(reference.bd_rate(*curves, method="akima"), abs=1e-6)
    assert bd_quality(*curves) == pytest.approx(reference.bd_psnr(*curves, method="akima"), abs=1e-6)


def test_order_of_the_points_does_not_matter() -> None:
    assert bd_rate(RATES[::-1], QUALITIES[::-1], RATES, QUALITIES) == pytest.approx(0.0)


def test_no_overlap_is_said() -> None:
    with pytest.raises(NoOverlapError, match="no overlap"):
        bd_rate(RATES, QUALITIES, RATES, [q + 10 for q in QUALITIES])
    with pytest.raises(NoOverlapError, match="no overlap"):
        bd_quality(RATES, QUALITIES, [r * 100 for r in RATES], QUALITIES)
    with pytest.raises(NoOverlapError, match="no overlap"):
        bd_rate(RATES, QUALITIES, RATES, [23.8, 25.0, 26.0, 27.0])  # one point is no range


def test_curves_that_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="at least two points"):
        bd_rate([96.0], [18.0], RATES, QUALITIES)
    with pytest.raises(ValueError, match="got 4 rates or qualities for 3"):
        bd_rate(RATES[:3], QUALITIES, RATES, QUALITIES)
    with pytest.raises(NotMonotoneError, match="does not rise"):
        bd_rate(RATES, QUALITIES, RATES, [20.0, 19.0, 21.0, 22.0])
    for measure in (bd_rate, bd_quality):
        with pytest.raises(NotMonotoneError):
            measure(RATES, QUALITIES, RATES, [18.0, 19.5, 19.5, 22.0])
        with pytest.raises(NotMonotoneError):
            measure(RATES, QUALITIES, [96.0, 192.0, 192.0, 384.0], QUALITIES)
