"""LPIPS targets where one grey token beats forty: on made curves, and on photos."""

import numpy as np
import pytest
from PIL import Image

from onedpiece.rate import QualityTarget
from onedpiece.rate.search import LASTING_TOL, SearchResult, find_min_tokens_gp


def hump(peak: int, grey: float = 0.6, worst: float = 0.75) -> list[float]:
    """LPIPS of 1 to 256 tokens: rises to its worst at `peak`, and falls by log2 from there to .35."""
    first = np.linspace(grey, worst, peak)
    rest = np.interp(np.log2(np.arange(peak + 1, 257)), [np.log2(peak), 8], [worst, 0.35])
    return [float(value) for value in (*first, *rest)]


def search_for(value: float, scores: list[float]) -> SearchResult:
    asked: list[int] = []

    def measure(tokens: int) -> float:
        asked.append(tokens)
        return scores[tokens - 1]

    found = find_min_tokens_gp(QualityTarget("lpips", value), measure, len(scores), None)
    assert found.measured == len(asked) == len(set(asked))
    assert found.score == scores[found.tokens - 1]
    return found


@pytest.mark.parametrize("value", [0.4, 0.5, 0.61, 0.65, 0.7])
@pytest.mark.parametrize("peak", [8, 40, 90])
def test_the_answer_is_behind_the_hump(value: float, peak: int) -> None:
    scores = hump(peak)
    found = search_for(value, scores)
    behind = next(k for k in range(peak, 257) if scores[k - 1] <= value)
    assert found.reached
    assert max(scores[found.tokens - 1 :]) <= value + LASTING_TOL
    assert behind * 0.9 <= found.tokens <= behind * 1.2 + 1


def test_a_falling_curve_takes_few_decodes() -> None:
    above, decodes = [], []
    for slope in (0.05, 0.07, 0.09):
        falling = [0.9 - slope * np.log2(k) for k in range(1, 257)]
        for value in np.linspace(falling[-1], falling[0], 40):
            found = search_for(float(value), falling)
            fewest = next(k for k in range(1, 257) if falling[k - 1] <= value)
            above.append((found.tokens - fewest) / max(4, fewest))  # of few, one more
            decodes.append(found.measured)
    assert min(above) == 0
    assert max(above) <= 0.25
    assert np.mean(decodes) < 4.2


def test_no_prefix_is_decoded_that_is_shorter_than_a_clear_miss() -> None:
    """A photo whose 56 tokens are worse than its 46: about what one of ImageNet's scores."""
    places = [1, 6, 19, 39, 46, 56, 104, 129, 256]
    curve = np.interp(
        np.log2(range(1, 257)), np.log2(places), [0.83, 0.8, 0.63, 0.58, 0.53, 0.59, 0.525, 0.48, 0.4]
    )
    asked: list[int] = []

    def measure(tokens: int) -> float:
        asked.append(tokens)
        return float(curve[tokens - 1])

    found = find_min_tokens_gp(QualityTarget("lpips", 0.515), measure, 256, None)
    missed = [tokens for tokens in asked if curve[tokens - 1] > 0.515 + LASTING_TOL]
    assert found.reached
    assert len(missed) > 1
    for tokens in missed:
        assert all(later > tokens for later in asked[asked.index(tokens) + 1 :])
    assert found.tokens > max(missed)


def test_fewer_tokens_that_are_worse_tell_that_an_answer_lasts() -> None:
    """On a falling curve nothing longer than the answer is decoded for that alone."""
    falling = [0.9 - 0.06 * np.log2(k) for k in range(1, 257)]
    for value in np.linspace(0.45, 0.75, 20):
        asked: list[int] = []

        def measure(tokens: int, asked: list[int] = asked) -> float:
            asked.append(tokens)
            return falling[tokens - 1]

        found = find_min_tokens_gp(QualityTarget("lpips", float(value)), measure, 256, None)
        worse = [k for k in asked if k < found.tokens and falling[k - 1] > found.score + LASTING_TOL]
        assert not worse or asked[-1] <= found.tokens


def test_where_more_never_helps_the_best_is_taken() -> None:
    rising = [0.3 + k / 1000 for k in range(1, 257)]
    assert search_for(0.35, rising).score <= 0.35
    assert not search_for(0.1, rising).reached


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rocket", "coffee"])
def test_a_photo_is_never_answered_by_a_grey_square(name: str, data: object, torch_home: object) -> None:
    import onedpiece
    from onedpiece.metrics.registry import image_scorer

    with Image.open(f"{data}/{name}.png") as opened:
        photo = opened.convert("RGB").resize((256, 256))
    codec = onedpiece.load()
    code, score = codec.encode(photo), image_scorer("lpips", photo)
    grey, forty = score([codec.decode(code, tokens) for tokens in (1, 40)])
    target = max(grey, forty) - 0.01 if grey < forty else (grey + forty) / 2
    found = codec.encode(photo, lpips=target)
    assert score([codec.decode(found)])[0] <= target
    more = [len(found) * 2**power for power in range(1, 8) if len(found) * 2**power <= 256]
    assert all(value <= target + LASTING_TOL for value in score([codec.decode(code, k) for k in more]))
