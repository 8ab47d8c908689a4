"""The fewest tokens that reach a PSNR, foretold: a handful of decodes where brute force takes one a count."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onedpiece.rate.search import Found, Measure
from onedpiece.rate.target import Target

Curve = NDArray[np.float64]
"""One value a prefix, (N,)."""

MOST = 3
"""Prefixes decoded for one photo, after which an answer may be one token above the fewest."""

SURE = 4.0
"""Standard deviations by which a prediction must fall short for its prefix not to be decoded."""

CALM = 1.5
"""Standard deviations by which a score may miss its prediction; one that misses by more is taken to show that
this photo's deviations are that much larger than they are thought to be."""

LEAST = 0.001
"""In dB, the smallest deviation by which a miss is counted."""

BOLD = -0.3
"""A prefix is decoded as the likely answer from so many standard deviations on; shortest first."""

CAREFUL = 0.5
"""The same while more are open than can be decoded: one that reaches then closes most of the gap."""

OFFSET = 0.25
"""Standard deviation, in dB, of what the decoder adds to the forecast of a whole photo."""

STRETCH = 0.1
"""The same of what it adds to every forecast dB."""

WALK = 0.5
"""The same of what it adds from one token to the next, in forecast gains there: the mean gain, and the
largest of the token's own and its neighbours', since what follows a jump is as uncertain as the jump."""

AROUND = 12
"""Tokens to either side over which that mean gain is taken."""


class Prediction(NamedTuple):
    """What each prefix is expected to score.

    Attributes:
        mean: (N,), in dB.
        deviation: (N,), in dB; 0 where it was measured.
    """

    mean: Curve
    deviation: Curve


def covariance(forecast: Curve) -> Curve:
    """Return the covariance, (N, N) in dB², of how far the scores are from their forecast, (N,)."""
    count = len(forecast)
    rising = np.maximum.accumulate(forecast)
    place = np.arange(count)
    first, last = np.maximum(place - AROUND, 0), np.minimum(place + AROUND, count - 1)
    gains = (rising[last] - rising[first]) / np.maximum(last - first, 1)
    own = np.pad(np.abs(np.diff(forecast)), (2, 1))
    largest = np.maximum(own[1:-1], np.maximum(own[:-2], own[2:]))
    walked = np.cumsum(WALK**2 * (gains**2 + largest**2))
    centred = forecast - forecast.mean()
    return np.asarray(OFFSET**2 + STRETCH**2 * np.outer(centred, centred) + np.minimum.outer(walked, walked))


def predict(forecast: Curve, spread: Curve, scores: dict[int, float]) -> Prediction:
    """Return what every prefix scores as far as the measured ones tell: the mean of a Gaussian process.

    Args:
        forecast: (N,), in dB.
        spread: (N, N), as `covariance` makes it.
        scores: token count -> dB, what was measured.
    """
    if not scores:
        return Prediction(forecast, np.sqrt(np.diag(spread)))
    seen = np.array(list(scores)) - 1
    against = spread[seen]
    # A millionth of a dB keeps neighbours of a flat forecast apart.
    weights = np.linalg.solve(against[:, seen] + 1e-12 * np.eye(len(seen)), against)
    errors = np.array(list(scores.values())) - forecast[seen]
    left = np.diag(spread) - (weights * against).sum(0)
    left[seen] = 0
    return Prediction(forecast + errors @ weights, np.sqrt(np.maximum(left, 0)))


def fewest_foretold(target: Target, measure: Measure, forecast: Sequence[float]) -> Found:
    """Return the fewest tokens whose PSNR reaches the target, or one more, from a handful of decodes.

    Guarantee: the answer was measured and reaches the target. Every prefix that is two or more tokens shorter
    was measured and falls short, or is ruled out, because its prediction falls short by SURE standard
    deviations, and by more in a photo whose scores were seen to miss their predictions (CALM). As far as the
    predictions hold, the answer is thus at most one token above what measuring every prefix gives, and equal
    to it where MOST decodes were enough to rule out the next shorter one as well. A target is called out of
    reach when that holds for every prefix, and all tokens were measured.

    Args:
        target: a PSNR.
        measure: decodes and scores one prefix; called once a count at most.
        forecast: (N,), about the PSNR of every prefix.
    """
    expected = np.asarray(forecast, np.float64)
    spread = covariance(expected)
    scores: dict[int, float] = {}
    sure = SURE
    while True:
        prediction = predict(expected, spread, scores)
        tokens = _next(target, prediction, scores, sure)
        if tokens is None:
            return Found.best(target, scores)
        scores[tokens] = measure(tokens)
        missed = abs(scores[tokens] - float(prediction.mean[tokens - 1]))
        sure = max(sure, SURE * missed / (CALM * max(float(prediction.deviation[tokens - 1]), LEAST)))


def _next(target: Target, prediction: Prediction, scores: dict[int, float], sure: float) -> int | None:
    """The count to measure next; None at the end."""
    count = len(prediction.mean)
    answer = min((tokens for tokens, score in scores.items() if target.margin(score) >= 0), default=count + 1)
    hopes = _hopes(target, prediction)
    risky = [tokens for tokens in range(1, answer) if tokens not in scores and hopes[tokens - 1] > -sure]
    if answer > count:
        # All tokens are looked at before a target is called out of reach.
        return _likely(risky or [count] * (count not in scores), hopes, BOLD)
    left = MOST - len(scores)
    if len(risky) <= left:
        return _likely(risky, hopes, BOLD)
    shorter = [tokens for tokens in risky if tokens < answer - 1]
    return _likely(shorter, hopes, CAREFUL if left > 0 else BOLD)


def _hopes(target: Target, prediction: Prediction) -> Curve:
    """By how many standard deviations each prefix, (N,), is expected to reach the target."""
    margins = np.array([target.margin(float(mean)) for mean in prediction.mean])
    return np.asarray(margins / np.maximum(prediction.deviation, 1e-9))


def _likely(open_counts: Sequence[int], hopes: Curve, least: float) -> int | None:
    """The shortest with a hope of at least `least`, or else the one with most hope; None of none."""
    likely = (tokens for tokens in open_counts if hopes[tokens - 1] >= least)
    return next(likely, max(open_counts, key=lambda tokens: float(hopes[tokens - 1]), default=None))
