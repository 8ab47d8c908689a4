"""LPIPS targets where one grey token beats forty: on made curves, and on photos."""

import numpy as np
import pytest
from PIL import Image

from onedpiece.rate import QualityTarget
from onedpiece.rate.search import LASTING_TOL, find_min_tokens


def hump(peak: int, grey: float = 0.6, worst: float = 0.75) -> list[float]:
    """LPIPS of 1 to 256 tokens: rises to its worst at `peak`, and falls by log2 from there to .35."""
    first = np.linspace(grey, worst, peak)
    rest = np.interp(np.log2(np.arange(peak + 1, 257)), [np.log2(peak), 8], [worst, 0.35])
    return [float(value) for value in (*first, *rest)]


@pytest.mark.parametrize("value", [0.4, 0.5, 0.61, 0.65, 0.7])
@pytest.mark.parametrize("peak", [8, 40, 90])
def test_the_answer_is_behind_the_hump(value: float, peak: int) -> None:
    scores, asked = hump(peak), []

    def measure(tokens: int) -> float:
        asked.append(tokens)
        return scores[tokens - 1]

    found = find_min_tokens(QualityTarget("lpips", value), measure, 256)
    behind = next(k for k in range(peak, 257) if scores[k - 1] <= value)
    assert (found.tokens, found.reached, found.score) == (behind, True, scores[behind - 1])
    assert found.measured == len(asked) == len(set(asked))


def test_a_falling_curve_is_answered_as_ever() -> None:
    falling = [1 - 0.08 * np.log2(k) for k in range(1, 257)]
    for value in (0.99, 0.8, 0.5, 0.37):
        found = find_min_tokens(QualityTarget("lpips", value), lambda k: float(falling[k - 1]), 256)
        assert found.tokens == next(k for k in range(1, 257) if falling[k - 1] <= value)


def test_where_more_never_helps_the_best_is_taken() -> None:
    rising = [0.3 + k / 1000 for k in range(1, 257)]
    found = find_min_tokens(QualityTarget("lpips", 0.35), lambda k: rising[k - 1], 256)
    assert found.score <= 0.35
    assert not find_min_tokens(QualityTarget("lpips", 0.1), lambda k: rising[k - 1], 256).reached


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
