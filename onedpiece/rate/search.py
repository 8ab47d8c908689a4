"""Search for the fewest tokens that reach a quality, from a handful of decodes.

`find_min_tokens` allows for a tolerance of non-monotonicity; `find_min_tokens_gp` fits a Gaussian process
about the estimated PSNR curve.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import accumulate
from math import log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onedpiece.rate.target import QualityTarget

Measure = Callable[[int], float]
"""Token count -> the score of that prefix, decoded."""

NON_MONOTONICITY_TOL = {"psnr": 0.006, "ssim": 0.01, "lpips": 0.15}
"""By how much a shorter prefix may score better than a longer one; more costs decodes, less exactness.

SSIM and LPIPS as `tools/check_targets.py` measures them, with room. PSNR is for the tiles of a photo, whose
bumps even out: one square's reach 0.03 dB, and `find_min_tokens_gp` takes them as they come."""

LASTING_TOL = 0.02
"""LPIPS by which more tokens may miss what fewer reach, for the fewer to be an answer."""

FEW = 16
"""Tokens that may well be such an answer, and are looked at more closely."""

PRIOR_SLOPE = {"psnr": 1.0, "ssim": 0.04, "lpips": -0.03}
"""Score per estimated dB, until two measurements give a better slope."""


Curve = NDArray[np.float64]
"""One value a prefix, (N,)."""

MAX_DECODES = 3
"""Prefixes decoded for one photo, after which an answer may be one token above the fewest."""

N_SIGMA = 4.0
"""Standard deviations by which a prediction must fall short for its prefix not to be decoded."""

OUTLIER_SIGMA = 1.5
"""Standard deviations by which a score may miss its prediction; one that misses by more is taken to show that
this photo's deviations are that much larger than they are thought to be."""

MIN_STD = 0.001
"""In dB, the smallest deviation by which a miss is counted."""

ACCEPT_Z = -0.3
"""A prefix is decoded as the likely answer from so many standard deviations on; shortest first."""

STRICT_Z = 0.5
"""The same while more are open than can be decoded: one that reaches then closes most of the gap."""

OFFSET_STD = 0.25
"""Standard deviation, in dB, of what the decoder adds to the estimate of a whole photo."""

SLOPE_STD = 0.1
"""The same of what it adds to every estimated dB."""

STEP_STD = 0.5
"""The same of what it adds from one token to the next, in estimated gains there: the mean gain, and the
largest of the token's own and its neighbours', since what follows a jump is as uncertain as the jump."""

WINDOW = 12
"""Tokens to either side over which that mean gain is taken."""


class SearchResult(NamedTuple):
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
    def best(cls, target: QualityTarget, scores: Mapping[int, float]) -> "SearchResult":
        """Return the fewest measured tokens that reach the target, or else those that score best."""
        margins = {tokens: target.margin(score) for tokens, score in scores.items()}
        reached = [tokens for tokens, margin in margins.items() if margin >= 0]
        tokens = min(reached, default=max(margins, key=lambda tokens: margins[tokens]))
        return cls(tokens, scores[tokens], bool(reached), len(scores))


def find_min_tokens(
    target: QualityTarget,
    measure: Measure,
    count: int,
    psnr_curve: Sequence[float] | None = None,
    tolerance: float | None = None,
) -> SearchResult:
    """Return the fewest tokens, 1 to `count`, whose score reaches the target.

    Guarantee: the answer was measured and reaches the target. Where no prefix scores better than a longer one
    by more than `tolerance`, no shorter one reaches it: the answer is what measuring every prefix gives. (The
    search ends once some count m falls short by more than `tolerance`, so that none up to m reaches the
    target, and all between m and the answer were measured and fall short.) A poor curve costs decodes, never
    that.

    LPIPS likes a grey square better than a poor picture, so that one token may beat forty. Without a
    `tolerance` of the caller's, its answer must last: twice as many tokens, four times as many and so on
    reach the target too, to LASTING_TOL, or the search goes on behind the last that does not.

    Args:
        target: what to reach.
        measure: decodes and scores one prefix; called once a count at most.
        count: tokens of the whole code.
        psnr_curve: (count,), the estimated PSNR of every prefix, up to a shift and stretch; None: equal gains
            an octave.
        tolerance: how far the scores may fall back, in the metric's unit; None: NON_MONOTONICITY_TOL.
    """
    if tolerance is None and target.metric == "lpips":
        return _find_lasting(target, cache(measure), count, psnr_curve)
    axis = _rising(psnr_curve or [log2(tokens) for tokens in range(1, count + 1)])
    tolerance = NON_MONOTONICITY_TOL[target.metric] if tolerance is None else tolerance
    scores: dict[int, float] = {}
    margins: dict[int, float] = {}
    while (tokens := _next(target, margins, axis, tolerance, known=psnr_curve is not None)) is not None:
        scores[tokens] = measure(tokens)
        margins[tokens] = target.margin(scores[tokens])
    return SearchResult.best(target, scores)


def _find_lasting(
    target: QualityTarget, measure: Measure, count: int, psnr_curve: Sequence[float] | None
) -> SearchResult:
    skipped, scores = 0, dict[int, float]()

    def measured(tokens: int, offset: int = 0) -> float:
        scores[tokens + offset] = measure(tokens + offset)
        return scores[tokens + offset]

    while True:
        curve = psnr_curve and psnr_curve[skipped:]
        tolerance = NON_MONOTONICITY_TOL[target.metric]
        found = find_min_tokens(target, partial(measured, offset=skipped), count - skipped, curve, tolerance)
        tokens = found.tokens + skipped
        longer = _longer(tokens, count) if found.reached else []
        short = max((more for more in longer if target.margin(measured(more)) < -LASTING_TOL), default=0)
        if not short or short == count:
            return SearchResult(tokens, found.score, found.reached, len(scores))
        skipped = short


def _longer(tokens: int, count: int) -> list[int]:
    """Return twice as many tokens, four times as many and so on, and all of them; of few, √2 times."""
    factor = 2**0.5 if tokens < FEW else 2.0
    steps = (round(tokens * factor**step) for step in range(1, 2 * count.bit_length()))
    return sorted({min(step, count) for step in steps if step > tokens} - {tokens})


def _rising(psnr_curve: Sequence[float]) -> list[float]:
    """Make the curve strictly rising, so that every value belongs to one count."""
    return [value + 1e-6 * place for place, value in enumerate(accumulate(psnr_curve, max))]


def _next(
    target: QualityTarget, margins: dict[int, float], axis: list[float], tolerance: float, *, known: bool
) -> int | None:
    """The count to measure next; None at the end."""
    low = max((tokens for tokens, margin in margins.items() if margin < -tolerance), default=0)
    high = min((tokens for tokens, margin in margins.items() if margin >= 0), default=len(axis) + 1)
    open_counts = [tokens for tokens in range(low + 1, high) if tokens not in margins]
    if not open_counts:
        return None
    if margins:
        place = _interpolate(margins, axis, high, abs(PRIOR_SLOPE[target.metric]))
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


class Prediction(NamedTuple):
    """What each prefix is expected to score.

    Attributes:
        mean: (N,), in dB.
        deviation: (N,), in dB; 0 where it was measured.
    """

    mean: Curve
    deviation: Curve


def covariance(psnr_curve: Curve) -> Curve:
    """Return the covariance, (N, N) in dB², of how far the scores are from their psnr_curve, (N,)."""
    count = len(psnr_curve)
    rising = np.maximum.accumulate(psnr_curve)
    place = np.arange(count)
    first, last = np.maximum(place - WINDOW, 0), np.minimum(place + WINDOW, count - 1)
    gains = (rising[last] - rising[first]) / np.maximum(last - first, 1)
    own = np.pad(np.abs(np.diff(psnr_curve)), (2, 1))
    largest = np.maximum(own[1:-1], np.maximum(own[:-2], own[2:]))
    walked = np.cumsum(STEP_STD**2 * (gains**2 + largest**2))
    centred = psnr_curve - psnr_curve.mean()
    return np.asarray(
        OFFSET_STD**2 + SLOPE_STD**2 * np.outer(centred, centred) + np.minimum.outer(walked, walked)
    )


def predict(psnr_curve: Curve, spread: Curve, scores: dict[int, float]) -> Prediction:
    """Return what every prefix scores as far as the measured ones tell: the mean of a Gaussian process.

    Args:
        psnr_curve: (N,), in dB.
        spread: (N, N), as `covariance` makes it.
        scores: token count -> dB, what was measured.
    """
    if not scores:
        return Prediction(psnr_curve, np.sqrt(np.diag(spread)))
    seen = np.array(list(scores)) - 1
    against = spread[seen]
    # A millionth of a dB keeps neighbours of a flat psnr_curve apart.
    weights = np.linalg.solve(against[:, seen] + 1e-12 * np.eye(len(seen)), against)
    errors = np.array(list(scores.values())) - psnr_curve[seen]
    left = np.diag(spread) - (weights * against).sum(0)
    left[seen] = 0
    return Prediction(psnr_curve + errors @ weights, np.sqrt(np.maximum(left, 0)))


def find_min_tokens_gp(target: QualityTarget, measure: Measure, psnr_curve: Sequence[float]) -> SearchResult:
    """Return the fewest tokens whose PSNR reaches the target, or one more, from a handful of decodes.

    Guarantee: the answer was measured and reaches the target. Every prefix that is two or more tokens shorter
    was measured and falls short, or is ruled out, because its prediction falls short by N_SIGMA standard
    deviations, and by more in a photo whose scores were seen to miss their predictions (OUTLIER_SIGMA). As
    far as the predictions hold, the answer is thus at most one token above what measuring every prefix gives,
    and equal to it where MAX_DECODES decodes were enough to rule out the next shorter one as well. A target
    is called out of reach when that holds for every prefix, and all tokens were measured.

    Args:
        target: a PSNR.
        measure: decodes and scores one prefix; called once a count at most.
        psnr_curve: (N,), about the PSNR of every prefix.
    """
    expected = np.asarray(psnr_curve, np.float64)
    spread = covariance(expected)
    scores: dict[int, float] = {}
    sure = N_SIGMA
    while True:
        prediction = predict(expected, spread, scores)
        tokens = _next_gp(target, prediction, scores, sure)
        if tokens is None:
            return SearchResult.best(target, scores)
        scores[tokens] = measure(tokens)
        missed = abs(scores[tokens] - float(prediction.mean[tokens - 1]))
        sure = max(
            sure, N_SIGMA * missed / (OUTLIER_SIGMA * max(float(prediction.deviation[tokens - 1]), MIN_STD))
        )


def _next_gp(
    target: QualityTarget, prediction: Prediction, scores: dict[int, float], sure: float
) -> int | None:
    """The count to measure next; None at the end."""
    count = len(prediction.mean)
    answer = min((tokens for tokens, score in scores.items() if target.margin(score) >= 0), default=count + 1)
    hopes = _hopes(target, prediction)
    risky = [tokens for tokens in range(1, answer) if tokens not in scores and hopes[tokens - 1] > -sure]
    if answer > count:
        # All tokens are looked at before a target is called out of reach.
        return _likely(risky or [count] * (count not in scores), hopes, ACCEPT_Z)
    left = MAX_DECODES - len(scores)
    if len(risky) <= left:
        return _likely(risky, hopes, ACCEPT_Z)
    shorter = [tokens for tokens in risky if tokens < answer - 1]
    return _likely(shorter, hopes, STRICT_Z if left > 0 else ACCEPT_Z)


def _hopes(target: QualityTarget, prediction: Prediction) -> Curve:
    """By how many standard deviations each prefix, (N,), is expected to reach the target."""
    margins = np.array([target.margin(float(mean)) for mean in prediction.mean])
    return np.asarray(margins / np.maximum(prediction.deviation, 1e-9))


def _likely(open_counts: Sequence[int], hopes: Curve, least: float) -> int | None:
    """The shortest with a hope of at least `least`, or else the one with most hope; None of none."""
    likely = (tokens for tokens in open_counts if hopes[tokens - 1] >= least)
    return next(likely, max(open_counts, key=lambda tokens: float(hopes[tokens - 1]), default=None))
