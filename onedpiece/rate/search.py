"""The fewest tokens that reach a target, from a handful of decodes."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import log2
from typing import NamedTuple

from onedpiece.rate.target import Target

Measure = Callable[[int], float]
"""Token count -> the score of that prefix, decoded."""

RIPPLES = {"psnr": 0.006, "ssim": 0.01, "lpips": 0.15}
"""By how much a shorter prefix may score better than a longer one; more costs decodes, less exactness.

SSIM and LPIPS as `tools/check_targets.py` measures them, with room. PSNR is for the tiles of a photo, whose
bumps even out: one square's reach 0.03 dB, and `rate.predicted` takes them as they come."""

SLOPES = {"psnr": 1.0, "ssim": 0.04, "lpips": -0.03}
"""What one forecast dB brings, until two measurements say it better."""


class Found(NamedTuple):
    """What a search came to.

    Attributes:
        tokens: how many to keep.
        score: what they are worth, measured.
        reached: whether that meets the target; if not, it is the best score that was seen.
        measured: the number of prefixes that were decoded.
    """

    tokens: int
    score: float
    reached: bool
    measured: int

    @classmethod
    def best(cls, target: Target, scores: Mapping[int, float]) -> "Found":
        """Return the fewest measured tokens that reach the target, or else those that score best."""
        margins = {tokens: target.margin(score) for tokens, score in scores.items()}
        reached = [tokens for tokens, margin in margins.items() if margin >= 0]
        tokens = min(reached, default=max(margins, key=lambda tokens: margins[tokens]))
        return cls(tokens, scores[tokens], bool(reached), len(scores))


def fewest(
    target: Target,
    measure: Measure,
    count: int,
    forecast: Sequence[float] | None = None,
    ripple: float | None = None,
) -> Found:
    """Return the fewest tokens, 1 to `count`, whose score reaches the target.

    Guarantee: the answer was measured and reaches the target. Where no prefix scores better than a longer one
    by more than `ripple`, no shorter one reaches it: the answer is what measuring every prefix gives. (The
    search ends once some count m falls short by more than `ripple`, so that none up to m reaches the target,
    and all between m and the answer were measured and fall short.) A poor forecast costs decodes, never that.

    Args:
        target: what to reach.
        measure: decodes and scores one prefix; called once a count at most.
        count: tokens of the whole code.
        forecast: (count,) the PSNR of every prefix, up to a shift and stretch; None: equal gains an octave.
        ripple: in the metric's own unit; None: RIPPLES.
    """
    axis = _rising(forecast or [log2(tokens) for tokens in range(1, count + 1)])
    ripple = RIPPLES[target.metric] if ripple is None else ripple
    scores: dict[int, float] = {}
    margins: dict[int, float] = {}
    while (tokens := _next(target, margins, axis, ripple, known=forecast is not None)) is not None:
        scores[tokens] = measure(tokens)
        margins[tokens] = target.margin(scores[tokens])
    return Found.best(target, scores)


def _rising(forecast: Sequence[float]) -> list[float]:
    """The forecast made strictly rising, so that every value belongs to one count."""
    return [value + 1e-6 * place for place, value in enumerate(accumulate(forecast, max))]


def _next(
    target: Target, margins: dict[int, float], axis: list[float], ripple: float, *, known: bool
) -> int | None:
    """The count to measure next; None at the end."""
    low = max((tokens for tokens, margin in margins.items() if margin < -ripple), default=0)
    high = min((tokens for tokens, margin in margins.items() if margin >= 0), default=len(axis) + 1)
    open_counts = [tokens for tokens in range(low + 1, high) if tokens not in margins]
    if not open_counts:
        return None
    if margins:
        place = _interpolate(margins, axis, high, abs(SLOPES[target.metric]))
    else:
        place = target.value if known and target.metric == "psnr" else axis[len(axis) // 8]
    guess = bisect_left(axis, place) + 1
    return min(open_counts, key=lambda tokens: (abs(tokens - guess), -tokens))


def _interpolate(margins: dict[int, float], axis: list[float], high: int, slope: float) -> float:
    """Where on the axis the margin should be 0."""
    short = sorted(tokens for tokens in margins if tokens < high)
    enough = sorted(tokens for tokens in margins if tokens >= high and margins[tokens] >= 0)
    if short and enough:
        below, above = short[-1], enough[0]
        share = -margins[below] / (margins[above] - margins[below])
        return axis[below - 1] + share * (axis[above - 1] - axis[below - 1])
    nearest, *farther = enough or short[::-1]
    if farther:
        seen = (margins[farther[0]] - margins[nearest]) / (axis[farther[0] - 1] - axis[nearest - 1])
        slope = min(max(seen, slope / 3), slope * 3)
    return axis[nearest - 1] - margins[nearest] / slope
