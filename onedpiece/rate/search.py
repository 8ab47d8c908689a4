"""Search for the fewest tokens that reach a quality, from a handful of decodes.

`find_min_tokens` assumes that scores rise with the tokens, up to a tolerance, and interpolates.
`find_min_tokens_gp` models them as a Gaussian process about an estimated curve, and decodes the prefix that
is expected to save most.
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

PRIOR_SLOPE = {"psnr": 1.0, "ssim": 0.04, "lpips": -0.03}
"""Score per estimated dB, until two measurements give a better slope."""


class SearchResult(NamedTuple):
    """The answer of a search.

    Attributes:
        tokens: how many to keep.
        score: of these tokens, measured.
        reached: whether it meets the target; if not, it is the best of all that were measured.
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
    """Return the count to measure next; None at the end."""
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
    """Return where on the axis the margin should be 0."""
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


Curve = NDArray[np.float64]
"""One value for each prefix, (N,): index k - 1 is that of k tokens."""

Matrix = NDArray[np.float64]

WINDOW = 12
"""Tokens on either side over which the mean gain of a token is taken."""

OUT_OF_REACH_SIGMA = 2.0
"""Standard deviations by which every prefix must fall short for a target to be out of reach."""

ACCEPT_Z = -0.2
"""Until a prefix reaches the target, the shortest whose z-score is at least this is decoded."""

MIN_STD = 1e-4
"""The smallest deviation by which a prediction error is divided, as a share of the curve's range."""

PRIOR_MISSES = 4.0
"""Pseudo-observations of prediction errors as large as predicted, averaged with the observed ones."""

LOSSLESS = 100.0
"""Finite margin that stands for an infinite PSNR."""

LPIPS_AT_64, LPIPS_AN_OCTAVE = 0.505, -0.059
"""Mean LPIPS of a photo's 64 tokens, sharp, and its change for twice as many: by the curves of 11 photos."""

LASTING_TOL = 0.02
"""Differences of LPIPS up to this are noise where `_falls_back` asks whether an answer lasts."""

ALIKE = 0.71
"""Ratio of two token counts from which on one may be looked at in place of the other, about 1 / √2."""

FEW = 16
"""Tokens below which a good LPIPS may be that of a grey square: longer prefixes are then sampled densely."""


class Prior(NamedTuple):
    """How far a metric's scores stray from the estimated curve, and when the search may stop.

    Attributes:
        offset_std: standard deviation of the whole curve's offset, in the metric's unit.
        slope_std: of its slope, as a share.
        step_std: of the error's step from one token to the next, as a share of the gain expected there.
        least_saving: a shorter prefix is decoded while the tokens that it would save, times the probability
            that it reaches the target, are more than this.
        least_share: the same as a share of the answer's tokens; the larger of both counts.
        lasting: in the metric's unit; prefixes shorter than one that misses the target by more are no answer.
    """

    offset_std: float
    slope_std: float
    step_std: float
    least_saving: float
    least_share: float
    lasting: float = inf


PRIORS = {
    "psnr": Prior(0.25, 0.1, 0.8, 0.03, 0.0),
    "ssim": Prior(0.02, 0.25, 0.6, 1.0, 0.02),
    "lpips": Prior(0.07, 0.3, 0.5, 0.3, 0.11, LASTING_TOL),
}
"""Chosen by the curves of 9 photos; LPIPS, of sharp pictures, by 26 prefixes of each of 5."""


class Prediction(NamedTuple):
    """What each prefix is expected to score, in the metric's unit.

    Attributes:
        mean: (N,).
        deviation: (N,), the standard deviation; 0 where it was measured.
    """

    mean: Curve
    deviation: Curve


def covariance(expected: Curve, prior: Prior = PRIORS["psnr"]) -> Matrix:
    """Return the prior covariance of the scores about their expectation: (N, N), in the metric's unit².

    The sum of a constant offset, a slope, and a random walk whose steps are in proportion to the gains.

    Args:
        expected: (N,), the expected scores, or their margins; higher is better.
        prior: of the metric.
    """
    count = len(expected)
    rising = np.maximum.accumulate(expected)
    place = np.arange(count)
    first, last = np.maximum(place - WINDOW, 0), np.minimum(place + WINDOW, count - 1)
    gains = (rising[last] - rising[first]) / np.maximum(last - first, 1)
    own = np.diff(expected, prepend=expected[0])
    walked = np.cumsum(prior.step_std**2 * (gains**2 + own**2))
    tilted = prior.slope_std * (expected - expected.mean())
    return np.asarray(prior.offset_std**2 + np.outer(tilted, tilted) + np.minimum.outer(walked, walked))


def predict(expected: Curve, spread: Matrix, scores: Mapping[int, float]) -> Prediction:
    """Return the posterior of a Gaussian process, given the measured scores.

    Args:
        expected: (N,), the prior mean.
        spread: (N, N), the prior covariance.
        scores: token count -> its measured score.
    """
    if not scores:
        return Prediction(expected, np.sqrt(np.diag(spread)))
    seen = np.array(list(scores)) - 1
    against = spread[seen]
    # Noise of a millionth of a unit: neighbours on a flat curve would make the matrix singular.
    weights = np.linalg.solve(against[:, seen] + 1e-12 * np.eye(len(seen)), against)
    errors = np.array(list(scores.values())) - expected[seen]
    left = np.diag(spread) - (weights * against).sum(0)
    left[seen] = 0
    return Prediction(expected + errors @ weights, np.sqrt(np.maximum(left, 0)))


def find_min_tokens_gp(
    target: QualityTarget, measure: Measure, count: int, forecast: Sequence[float] | None
) -> SearchResult:
    """Return about the fewest tokens that reach the target, from a handful of decodes.

    Guarantee: the answer was measured and reaches the target. That no shorter prefix reaches it is likely,
    not certain: the search stops once none is expected to save more than the prior's `least_saving`.
    Deviations are scaled up on photos whose scores were further from their predictions than predicted. A
    target is out of reach when all prefixes are predicted to fall short by OUT_OF_REACH_SIGMA, and all tokens
    were measured.

    LPIPS may prefer a grey square to a poor picture, so that one token beats forty. An answer in LPIPS must
    therefore last (`_falls_back`): where a longer prefix misses the target, the search goes on behind it.

    Args:
        target: what to reach.
        measure: decodes and scores one prefix; called once a count at most.
        count: N, tokens of the whole code.
        forecast: (N,), an estimate of every prefix's score; None, for LPIPS only: that of the mean photo.
    """
    prior = PRIORS[target.metric]
    if forecast is None:
        forecast = [LPIPS_AT_64 + LPIPS_AN_OCTAVE * (log2(tokens) - 6) for tokens in range(1, count + 1)]
    expected = np.array([target.margin(score) for score in forecast])
    scores: dict[int, float] = {}

    def margin(tokens: int) -> float:
        if tokens not in scores:
            scores[tokens] = measure(tokens)
        return min(target.margin(scores[tokens]), LOSSLESS)

    skipped = 0
    while True:
        found = _search(margin, expected, prior, skipped)
        if margin(found) < 0 or target.metric != "lpips":
            break
        short = _falls_back(margin, found, count, scores)
        if not short or short == count:
            return SearchResult(found, scores[found], True, len(scores))
        skipped = short
    if target.metric == "lpips" and not skipped and margin(found) < 0:
        margin(1)  # the one place where a curve that more tokens make worse would reach it
    return SearchResult.best(target, scores)


def _falls_back(margin: Measure, tokens: int, count: int, known: Collection[int]) -> int:
    """Return the longest sampled prefix beyond `tokens` that misses the target; 0 where the answer lasts.

    It lasts without a look if fewer tokens were seen to be worse: the curve falls there already. Else longer
    prefixes are sampled, each twice as long as the one before, √2 times from few tokens, until one is clearly
    better than the answer.

    Args:
        margin: measures by how much a prefix reaches the target.
        tokens: an answer.
        count: N, tokens of the whole code.
        known: the counts that were measured.
    """
    best, short = margin(tokens), 0
    if any(k < tokens and margin(k) < best - LASTING_TOL for k in known):
        return 0
    factor = 2**0.5 if tokens < FEW else 2.0
    while best >= 0 and tokens < count:
        wanted = min(max(round(factor * tokens), tokens + 1), count)
        # A prefix of about that length that was decoded already will do.
        alike = range(max(tokens + 1, round(ALIKE * wanted)), min(count, round(wanted / ALIKE)) + 1)
        near = [k for k in alike if k in known]
        tokens = min(near, key=lambda k: abs(k - wanted), default=wanted)
        more = margin(tokens)
        if more < -LASTING_TOL:
            short = tokens
        elif more > best + LASTING_TOL:
            return short
    return short


def _search(margin: Measure, expected: Curve, prior: Prior, skipped: int) -> int:
    """Return about the fewest tokens, more than `skipped`, whose margin is 0 or more, or else is the largest.

    Args:
        margin: measures by how much a prefix reaches the target.
        expected: (N,), an estimate of it for every prefix.
        prior: of the metric.
        skipped: counts up to this are not looked at.
    """
    expected = expected[skipped:]
    spread = covariance(expected, prior)
    least = MIN_STD * float(np.ptp(expected))
    margins: dict[int, float] = {}
    misses: list[float] = []
    while True:
        prediction = predict(expected, spread, margins)
        # The root mean square of the standardised errors so far: above 1, predictions were overconfident.
        inflation = sqrt((PRIOR_MISSES + sum(misses)) / (PRIOR_MISSES + len(misses)))
        z_scores = prediction.mean / np.maximum(inflation * prediction.deviation, 1e-9)
        tokens = _next_gp(z_scores, margins, prior)
        if tokens is None:
            best = max(margins, key=lambda tokens: margins[tokens])
            return skipped + (_answer(margins, prior) or best)
        found = margin(skipped + tokens)
        if margins:  # the first error is mostly the photo's own offset
            missed = found - float(prediction.mean[tokens - 1])
            misses.append((missed / max(float(prediction.deviation[tokens - 1]), least)) ** 2)
        margins[tokens] = found


def _next_gp(z_scores: Curve, margins: Mapping[int, float], prior: Prior) -> int | None:
    """Return the count to measure next; None at the end.

    Args:
        z_scores: (N,), by how many standard deviations each prefix is expected to reach the target.
        margins: token count -> by how much it was measured to reach it.
        prior: of the metric.
    """
    count, first = len(z_scores), _first_lasting(margins, prior)
    answer = _answer(margins, prior)
    if answer:
        least = max(prior.least_saving, prior.least_share * answer)
        savings = {k: _saving(answer - k, z_scores[k - 1]) for k in range(first, answer) if k not in margins}
        best = max(savings, key=lambda tokens: savings[tokens], default=0)
        return best if best and savings[best] > least else None
    unknown = (k for k in range(first, count + 1) if k not in margins)
    possible = [k for k in unknown if z_scores[k - 1] > -OUT_OF_REACH_SIGMA]
    # All tokens are measured before a target is called out of reach.
    possible = possible or [count] * (count not in margins)
    likely = (tokens for tokens in possible if z_scores[tokens - 1] >= ACCEPT_Z)
    return next(likely, max(possible, key=lambda tokens: float(z_scores[tokens - 1]), default=None))


def _first_lasting(margins: Mapping[int, float], prior: Prior) -> int:
    """Return the shortest prefix that may be the answer: longer than all that miss by more than `lasting`."""
    return 1 + max((tokens for tokens, margin in margins.items() if margin < -prior.lasting), default=0)


def _answer(margins: Mapping[int, float], prior: Prior) -> int:
    """Return the fewest tokens that were measured to reach the target and may last; 0 if there are none."""
    first = _first_lasting(margins, prior)
    return min((tokens for tokens, margin in margins.items() if margin >= 0 and tokens >= first), default=0)


def _saving(tokens: int, z_score: float) -> float:
    """Return the tokens that a prefix shorter by `tokens` saves, times the probability that it will do."""
    return tokens * (1 + erf(z_score / sqrt(2))) / 2
