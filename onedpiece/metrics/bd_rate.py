"""Bjøntegaard deltas: two rate–distortion curves as one number, by Akima interpolation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator

from onedpiece.errors import NoOverlapError, NotMonotoneError

Array = NDArray[np.float64]


def bd_rate(
    anchor_rates: Sequence[float],
    anchor_qualities: Sequence[float],
    rates: Sequence[float],
    qualities: Sequence[float],
) -> float:
    """Return the mean change of the rate at equal quality, in per cent; negative is better than the anchor.

    Args:
        anchor_rates: the reference curve's bytes or bits, above zero; at least two points.
        anchor_qualities: its qualities, one a rate, higher is better (negate LPIPS).
        rates: the curve's own bytes or bits.
        qualities: the curve's own qualities.

    Raises:
        NoOverlapError: no quality is reached by both curves.
        NotMonotoneError: a quality that does not rise with the rate.
        ValueError: fewer than two points.

    Bjøntegaard 2001 (VCEG-M33), with Akima's interpolation as the JVET's common test conditions use.
    """
    anchor = _interpolator(anchor_qualities, np.log10(anchor_rates))
    curve = _interpolator(qualities, np.log10(rates))
    return float((10 ** _mean_difference(anchor, curve, "quality") - 1) * 100)


def bd_quality(
    anchor_rates: Sequence[float],
    anchor_qualities: Sequence[float],
    rates: Sequence[float],
    qualities: Sequence[float],
) -> float:
    """Return the mean change of the quality at equal rate, in the quality's unit; positive is better.

    Arguments and errors are those of `bd_rate`; the overlap asked for is one of the rates.
    """
    anchor = _interpolator(np.log10(anchor_rates), anchor_qualities)
    curve = _interpolator(np.log10(rates), qualities)
    return _mean_difference(anchor, curve, "rate")


def _interpolator(x: Sequence[float] | Array, y: Sequence[float] | Array) -> Akima1DInterpolator:
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(xs) != len(ys) or len(xs) < 2:
        raise ValueError(f"a curve needs at least two points; got {len(xs)} rates or qualities for {len(ys)}")
    order = np.argsort(xs)
    xs, ys = xs[order], ys[order]
    if np.any(np.diff(xs) <= 0) or np.any(np.diff(ys) <= 0):
        raise NotMonotoneError("the quality does not rise with the rate everywhere; leave out those points")
    return Akima1DInterpolator(xs, ys)


def _mean_difference(anchor: Akima1DInterpolator, curve: Akima1DInterpolator, axis: str) -> float:
    low, high = max(anchor.x[0], curve.x[0]), min(anchor.x[-1], curve.x[-1])
    if low >= high:
        raise NoOverlapError(f"no overlap: the two curves share no range of {axis}")
    return float((curve.integrate(low, high) - anchor.integrate(low, high)) / (high - low))
