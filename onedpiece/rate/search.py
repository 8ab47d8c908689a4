"""Search for the fewest tokens that reach a quality, from a handful of decodes.

`find_min_tokens` allows for a tolerance of non-monotonicity; `find_min_tokens_gp` fits a Gaussian process
about a forecast of the scores, and decodes where it expects to save most.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import accumulate
from math import erf, inf, log2, sqrt
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
"""LPIPS by which more tokens may miss what fewer reach, for the fewer to be an answer, and by which they must
be better, or fewer still be worse, for no more to be looked at."""

LOSSLESS = 100.0
"""Margin that counts as infinite: no photo's PSNR is so far from any that is asked for."""

ALIKE = 0.71
"""Ratio of two lengths that tell the same about whether an answer lasts."""

FEW = 16
"""Tokens that may well be such an answer, so that longer ones are looked at more closely."""

LPIPS_AT_64, LPIPS_AN_OCTAVE = 0.505, -0.059
"""About what a photo's 64 tokens score, sharp, and twice as many more: by the curves of 11 photos."""

PRIOR_SLOPE = {"psnr": 1.0, "ssim": 0.04, "lpips": -0.03}
"""Score per estimated dB, until two measurements give a better slope."""


Curve = NDArray[np.float64]
"""One value a prefix, (N,)."""

OUT_OF_REACH_SIGMA = 2.0
"""Standard deviations by which every prefix must fall short for a target to be out of reach."""

ACCEPT_Z = -0.2
"""Until one reaches the target, the shortest prefix is decoded that does by so many standard deviations."""

MIN_STD = 1e-4
"""The smallest deviation by which a miss is counted, as a share of what all tokens are worth."""

PRIOR_MISSES = 4.0
"""Predictions that hold as well as they are thought to, which those that were seen are averaged with."""


class Belief(NamedTuple):
    """What is thought of how far a metric's scores are from their forecast, and what an answer is worth.

    Attributes:
        offset_std: standard deviation of what a whole photo scores beside it, in the metric's unit.
        slope_std: the same of its slope, as a share.
        step_std: the same from one token to the next, in expected gains there: the mean gain, and the token's
            own.
        least_saving: in tokens: a shorter prefix is decoded as long as what it would save, times the
            probability that it reaches the target, is more.
        least_share: the same as a share of the answer; the larger of both holds.
        lasting: a prefix that misses the target by more makes all shorter ones no answer.
    """

    offset_std: float
    slope_std: float
    step_std: float
    least_saving: float
    least_share: float
    lasting: float = inf


BELIEFS = {
    "psnr": Belief(0.25, 0.1, 0.8, 0.03, 0.0),
    "ssim": Belief(0.02, 0.25, 0.6, 1.0, 0.02),
    "lpips": Belief(0.07, 0.3, 0.5, 0.3, 0.11, LASTING_TOL),
}
"""By the curves of 9 photos; LPIPS, of sharp pictures, by 26 prefixes of each of 5."""

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

    Args:
        target: what to reach.
        measure: decodes and scores one prefix; called once a count at most.
        count: tokens of the whole code.
        psnr_curve: (count,), the estimated PSNR of every prefix, up to a shift and stretch; None: equal gains
            an octave.
        tolerance: how far the scores may fall back, in the metric's unit; None: NON_MONOTONICITY_TOL.
    """
    axis = _rising(psnr_curve or [log2(tokens) for tokens in range(1, count + 1)])
    tolerance = NON_MONOTONICITY_TOL[target.metric] if tolerance is None else tolerance
    scores: dict[int, float] = {}
    margins: dict[int, float] = {}
    while (tokens := _next(target, margins, axis, tolerance, known=psnr_curve is not None)) is not None:
        scores[tokens] = measure(tokens)
        margins[tokens] = target.margin(scores[tokens])
    return SearchResult.best(target, scores)


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


def covariance(expected: Curve, belief: Belief = BELIEFS["psnr"]) -> Curve:
    """Return the covariance, (N, N) in the metric's unit², of how far scores are from what is expected, (N,).

    Args:
        expected: by how much every prefix is better than some score; more is better.
        belief: in the metric.
    """
    count = len(expected)
    rising = np.maximum.accumulate(expected)
    place = np.arange(count)
    first, last = np.maximum(place - WINDOW, 0), np.minimum(place + WINDOW, count - 1)
    gains = (rising[last] - rising[first]) / np.maximum(last - first, 1)
    own = np.diff(expected, prepend=expected[0])
    walked = np.cumsum(belief.step_std**2 * (gains**2 + own**2))
    tilted = belief.slope_std * (expected - expected.mean())
    return np.asarray(belief.offset_std**2 + np.outer(tilted, tilted) + np.minimum.outer(walked, walked))


def predict(expected: Curve, spread: Curve, scores: Mapping[int, float]) -> Prediction:
    """Return what every prefix scores as far as the measured ones tell: the mean of a Gaussian process.

    Args:
        expected: (N,), before anything is measured.
        spread: (N, N), as `covariance` makes it.
        scores: token count -> what was measured, in the same unit.
    """
    if not scores:
        return Prediction(expected, np.sqrt(np.diag(spread)))
    seen = np.array(list(scores)) - 1
    against = spread[seen]
    # A millionth of a unit keeps neighbours of a flat curve apart.
    weights = np.linalg.solve(against[:, seen] + 1e-12 * np.eye(len(seen)), against)
    errors = np.array(list(scores.values())) - expected[seen]
    left = np.diag(spread) - (weights * against).sum(0)
    left[seen] = 0
    return Prediction(expected + errors @ weights, np.sqrt(np.maximum(left, 0)))


def find_min_tokens_gp(
    target: QualityTarget, measure: Measure, count: int, forecast: Sequence[float] | None
) -> SearchResult:
    """Return about the fewest tokens that reach the target, from a handful of decodes.

    Guarantee: the answer was measured and reaches the target. Whether a shorter prefix does as well is a bet:
    the search goes on as long as one is expected to save more than the belief's `least_saving`. A photo whose
    scores were seen to miss their predictions is trusted less. A target is called out of reach when the
    predictions of all prefixes fall short by OUT_OF_REACH_SIGMA, and all tokens were measured.

    LPIPS may like a grey square better than a poor picture, so that one token beats forty. Its answer must
    last: no longer prefix was seen to miss the target by LASTING_TOL, and fewer tokens were seen to be worse,
    or twice as many to be better, by as much; or else those and four times as many and so on (of few, √2
    times) reach the target too. Where they do not, the search goes on behind them.

    Args:
        target: what to reach.
        measure: decodes and scores one prefix; called once a count at most.
        count: N, tokens of the whole code.
        forecast: (N,), about the score of every prefix; None, of LPIPS: what photos score in the mean.
    """
    belief = BELIEFS[target.metric]
    if forecast is None:
        forecast = [LPIPS_AT_64 + LPIPS_AN_OCTAVE * (log2(tokens) - 6) for tokens in range(1, count + 1)]
    expected = np.array([target.margin(score) for score in forecast])
    scores: dict[int, float] = {}

    def measured(tokens: int) -> float:
        if tokens not in scores:
            scores[tokens] = measure(tokens)
        return min(target.margin(scores[tokens]), LOSSLESS)

    skipped = 0
    while True:
        found = _search(measured, expected, belief, skipped)
        if measured(found) < 0 or target.metric != "lpips":
            break
        short = _falls_back(measured, found, count, scores)
        if not short or short == count:
            return SearchResult(found, scores[found], True, len(scores))
        skipped = short
    if target.metric == "lpips" and not skipped and measured(found) < 0:
        measured(1)  # the one place where a curve that more tokens make worse would reach it
    return SearchResult.best(target, scores)


def _falls_back(margin: Measure, tokens: int, count: int, known: Collection[int]) -> int:
    """Return a longer prefix that misses what `tokens` reach; 0 where the answer lasts."""
    best, short = margin(tokens), 0
    if any(k < tokens and margin(k) < best - LASTING_TOL for k in known):
        return 0  # better than fewer: behind the worst of what may rise first
    factor = 2**0.5 if tokens < FEW else 2.0
    while best >= 0 and tokens < count:
        wanted = min(max(round(factor * tokens), tokens + 1), count)
        # What was decoded on the way here will do where it is about as long.
        alike = range(max(tokens + 1, round(ALIKE * wanted)), min(count, round(wanted / ALIKE)) + 1)
        near = [k for k in alike if k in known]
        tokens = min(near, key=lambda k: abs(k - wanted), default=wanted)
        more = margin(tokens)
        if more < -LASTING_TOL:
            short = tokens
        elif more > best + LASTING_TOL:
            return short
    return short


def _search(margin: Measure, expected: Curve, belief: Belief, skipped: int) -> int:
    """Return about the fewest of the tokens above `skipped` whose margin was measured to be 0 or more.

    Where none is, those of the best.
    """
    expected = expected[skipped:]
    spread = covariance(expected, belief)
    least = MIN_STD * float(np.ptp(expected))
    margins: dict[int, float] = {}
    misses: list[float] = []
    while True:
        prediction = predict(expected, spread, margins)
        # By how much worse predictions were than thought: the root of the mean square of what was missed.
        doubt = sqrt((PRIOR_MISSES + sum(misses)) / (PRIOR_MISSES + len(misses)))
        hopes = prediction.mean / np.maximum(doubt * prediction.deviation, 1e-9)
        tokens = _next_gp(hopes, margins, belief)
        if tokens is None:
            best = max(margins, key=lambda tokens: margins[tokens])
            return skipped + (_answer(margins, belief) or best)
        found = margin(skipped + tokens)
        if margins:  # the first miss is the photo's own offset
            missed = found - float(prediction.mean[tokens - 1])
            misses.append((missed / max(float(prediction.deviation[tokens - 1]), least)) ** 2)
        margins[tokens] = found


def _next_gp(hopes: Curve, margins: Mapping[int, float], belief: Belief) -> int | None:
    """The count to measure next; None at the end.

    Args:
        hopes: (N,), by how many standard deviations each prefix is expected to reach the target.
        margins: token count -> by how much it does.
        belief: what an answer is worth.
    """
    count, first = len(hopes), _first_lasting(margins, belief)
    answer = _answer(margins, belief)
    if answer:
        least = max(belief.least_saving, belief.least_share * answer)
        savings = {k: _saving(answer - k, hopes[k - 1]) for k in range(first, answer) if k not in margins}
        best = max(savings, key=lambda tokens: savings[tokens], default=0)
        return best if best and savings[best] > least else None
    risky = [k for k in range(first, count + 1) if k not in margins and hopes[k - 1] > -OUT_OF_REACH_SIGMA]
    # All tokens are looked at before a target is called out of reach.
    risky = risky or [count] * (count not in margins)
    likely = (tokens for tokens in risky if hopes[tokens - 1] >= ACCEPT_Z)
    return next(likely, max(risky, key=lambda tokens: float(hopes[tokens - 1]), default=None))


def _first_lasting(margins: Mapping[int, float], belief: Belief) -> int:
    """Return the shortest prefix that may be the answer: behind all that miss by too much."""
    return 1 + max((tokens for tokens, margin in margins.items() if margin < -belief.lasting), default=0)


def _answer(margins: Mapping[int, float], belief: Belief) -> int:
    """Return the fewest tokens that were measured to reach the target, and may last; 0 where none were."""
    first = _first_lasting(margins, belief)
    return min((tokens for tokens, margin in margins.items() if margin >= 0 and tokens >= first), default=0)


def _saving(tokens: int, hope: float) -> float:
    """What decoding a prefix shorter by so many tokens is expected to save, in tokens."""
    return tokens * (1 + erf(hope / sqrt(2))) / 2
