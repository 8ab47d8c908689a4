"""The foretold search beside brute force, on curves that wander about their forecast."""

import numpy as np
import pytest

from onedpiece.rate import QualityTarget, search
from onedpiece.rate.search import SearchResult, covariance, find_min_tokens_gp, predict

COUNT = 256


def foretold(seed: int) -> np.ndarray:
    """What a linear path forecasts: gains that fall off as 1/k, about 0.8 dB an octave."""
    gains = np.random.default_rng(seed).uniform(0.5, 1.5, COUNT) / np.arange(3, COUNT + 3)
    return 14 + 1.2 * np.cumsum(gains)


def wandering(forecast: np.ndarray, seed: int, walk: float = 0.4) -> list[float]:
    """Scores that are off by a shift, and from token to token by `walk` times what a token brings there."""
    rng = np.random.default_rng(seed)
    steps = walk * 1.2 / np.arange(3, COUNT + 3) * rng.standard_normal(COUNT)
    return [float(score) for score in forecast + 0.15 * rng.standard_normal() + np.cumsum(steps)]


def search_for(target: QualityTarget, scores: list[float], forecast: np.ndarray) -> SearchResult:
    asked: list[int] = []

    def measure(tokens: int) -> float:
        assert tokens not in asked
        asked.append(tokens)
        return scores[tokens - 1]

    found = find_min_tokens_gp(target, measure, len(scores), forecast.tolist())
    assert found.measured == len(asked)
    assert found.score == scores[found.tokens - 1]
    return found


def test_a_handful_of_decodes_finds_what_brute_force_finds() -> None:
    above, decodes = [], []
    for seed in range(10):
        forecast = foretold(seed)
        scores = wandering(forecast, seed + 100)
        for value in np.random.default_rng(seed).uniform(min(scores), max(scores), 40):
            found = search_for(QualityTarget("psnr", float(value)), scores, forecast)
            assert found.reached
            above.append(found.tokens - next(at + 1 for at, score in enumerate(scores) if score >= value))
            decodes.append(found.measured)
    assert max(above) <= 1
    assert np.mean(np.array(above) == 0) > 0.7
    assert np.mean(decodes) < 5
    assert np.quantile(decodes, 0.95) <= 7


def test_a_true_forecast_needs_a_guess_the_answer_and_a_look_below() -> None:
    scores = foretold(0)
    # Half-way between the scores of 99 and 100 tokens.
    found = search_for(QualityTarget("psnr", float(scores[98:100].mean())), scores.tolist(), scores)
    assert found.tokens == 100
    assert found.measured <= 5


@pytest.mark.slow
def test_a_photo_that_ripples_more_than_thought_takes_more_decodes_not_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def searches(walk: float) -> tuple[int, float]:
        """How many of 480 answers are two or more tokens too long, and the decodes in the mean."""
        above, decodes = [], []
        for seed in range(12):
            forecast = foretold(seed)
            scores = wandering(forecast, seed + 100, walk=walk)
            for value in np.random.default_rng(seed).uniform(min(scores), max(scores), 40):
                found = search_for(QualityTarget("psnr", float(value)), scores, forecast)
                above.append(found.tokens - next(k for k, score in enumerate(scores, 1) if score >= value))
                decodes.append(found.measured)
        return sum(more > 1 for more in above), float(np.mean(decodes))

    (usual, few), (rippling, many) = searches(0.4), searches(1.0)
    assert usual == 0
    assert rippling <= 4  # one in a hundred
    assert many > few + 0.5
    monkeypatch.setattr(search, "PRIOR_MISSES", 1e12)  # predictions that hold are not trusted more
    assert searches(0.4)[1] > few + 0.3


def test_out_of_reach_is_said_after_looking_at_all_tokens() -> None:
    forecast = foretold(1)
    scores = wandering(forecast, 1)
    found = search_for(QualityTarget("psnr", 60), scores, forecast)
    assert not found.reached
    assert found.tokens == COUNT
    assert found.measured <= 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [45.0, 52.0, 60.0])
def test_a_picture_that_becomes_lossless_is_no_odd_number_to_the_search(value: float) -> None:
    scores = [*np.linspace(40, 50, 30), *[float("inf")] * 34]
    forecast = [*np.linspace(40, 50, 30), *np.linspace(51, 55, 34)]
    found = find_min_tokens_gp(
        QualityTarget("psnr", value), lambda tokens: float(scores[tokens - 1]), 64, forecast
    )
    fewest = next(tokens for tokens in range(1, 65) if scores[tokens - 1] >= value)
    assert (found.tokens, found.reached) == (fewest, True)
    assert found.score == scores[fewest - 1]


def test_a_peak_before_the_end_is_still_found() -> None:
    # The third count is the only one that reaches 14.02; its forecast leaves it open.
    found = search_for(
        QualityTarget("psnr", 14.02), [10.0, 12.0, 14.05, 14.0], np.array([10.0, 12.0, 14.0, 14.1])
    )
    assert (found.tokens, found.reached) == (3, True)


@pytest.mark.parametrize("value", [5.0, 9.0])
def test_one_token_is_all_there_is(value: float) -> None:
    assert search_for(QualityTarget("psnr", value), [7.0], np.array([7.0])) == SearchResult(
        1, 7.0, value <= 7, 1
    )


def test_predictions_pass_through_what_was_measured() -> None:
    forecast = foretold(2)
    spread = covariance(forecast)
    seen = {10: forecast[9] + 0.1, 200: forecast[199] - 0.2}
    mean, deviation = predict(forecast, spread, seen)
    for tokens, score in seen.items():
        assert mean[tokens - 1] == pytest.approx(score, abs=1e-6)
        assert deviation[tokens - 1] == 0
    # Between them the error is drawn from +0.1 to -0.2, and is less certain than next to them.
    errors = mean - forecast
    assert -0.2 < errors[99] < 0.1
    assert deviation[19] > deviation[10] > 0
    assert (np.diag(spread) > deviation**2).all()
