"""The search beside brute force over every prefix, on curves whose ripple is known."""

from math import log2

import numpy as np
import pytest

from onedpiece.rate import METRICS, QualityTarget
from onedpiece.rate.search import SearchResult, find_min_tokens

COUNT = 256


def curve(seed: int, ripple: float, metric: str = "psnr") -> list[float]:
    """Scores of 1 to 256 tokens that rise with kinks and flats, and fall back by at most `ripple`."""
    rng = np.random.default_rng(seed)
    steps = rng.exponential(1.0, COUNT) * rng.choice([0.0, 1.0, 6.0], COUNT, p=[0.3, 0.6, 0.1])
    rising = 14 + 8 * np.cumsum(steps / np.arange(4, COUNT + 4)) / 12
    rough = rising + rng.uniform(-ripple / 2, ripple / 2, COUNT)
    scaled = {"psnr": rough, "ssim": rough / 40, "lpips": 1 - rough / 40}[metric]
    return [float(value) for value in scaled]


def brute_force(target: QualityTarget, scores: list[float]) -> int:
    """The first count that reaches the target; 0 where none does."""
    return next((place + 1 for place, score in enumerate(scores) if target.margin(score) >= 0), 0)


def search(
    target: QualityTarget, scores: list[float], ripple: float, forecast: list[float] | None = None
) -> SearchResult:
    asked: list[int] = []

    def measure(tokens: int) -> float:
        assert tokens not in asked
        asked.append(tokens)
        return scores[tokens - 1]

    found = find_min_tokens(target, measure, len(scores), forecast, ripple)
    assert found.measured == len(asked)
    assert found.score == scores[found.tokens - 1]
    return found


@pytest.mark.parametrize("metric", list(METRICS))
@pytest.mark.parametrize("ripple", [0.0, 0.02])
@pytest.mark.parametrize("foretold", [False, True])
def test_it_finds_what_brute_force_finds(metric: str, ripple: float, foretold: bool) -> None:
    unit = 1 if metric == "psnr" else 40
    for seed in range(20):
        scores = curve(seed, ripple, metric)
        # The forecast is another draw's curve: of the right shape, and wrong everywhere.
        forecast = curve(seed + 1000, 0.5) if foretold else None
        for value in np.random.default_rng(seed).uniform(min(scores), max(scores), 200):
            target = QualityTarget(metric, float(value))
            found = search(target, scores, ripple / unit + 1e-12, forecast)
            assert found.reached
            assert found.tokens == brute_force(target, scores)


def test_a_true_forecast_needs_two_decodes() -> None:
    scores = curve(0, 0.0)
    # The first guess is right; the count before it has to be seen to fall short.
    assert search(QualityTarget("psnr", scores[99] - 1e-7), scores, 0.0, scores).measured <= 3


def test_without_a_forecast_a_handful_is_enough() -> None:
    scores = [14 + 0.9 * log2(tokens) for tokens in range(1, COUNT + 1)]
    measured = [
        search(QualityTarget("psnr", value), scores, 0.001).measured for value in np.linspace(14, 21.2, 100)
    ]
    assert np.mean(measured) < 5
    assert max(measured) < 10


@pytest.mark.parametrize("ripple", [0.0, 0.02])
def test_out_of_reach_says_the_best_there_is(ripple: float) -> None:
    for seed in range(20):
        scores = curve(seed, ripple)
        found = search(QualityTarget("psnr", 60), scores, ripple)
        assert not found.reached
        assert max(scores) - found.score <= ripple  # at the end of the curve, or within its ripple


def test_a_peak_before_the_end_is_still_found() -> None:
    scores = [10.0, 12.0, 14.05, 14.0]  # ripple 0.05: the third count is the only one that reaches 14.02
    assert search(QualityTarget("psnr", 14.02), scores, 0.06).tokens == 3


def test_one_token_is_enough_where_it_is() -> None:
    assert search(QualityTarget("psnr", 5.0), curve(0, 0.0), 0.0).tokens == 1
    assert search(QualityTarget("psnr", 5.0), [7.0], 0.0) == SearchResult(1, 7.0, True, 1)
    assert search(QualityTarget("psnr", 9.0), [7.0], 0.0) == SearchResult(1, 7.0, False, 1)
