"""Keep counts follow their laws, and the mask says what they say."""

import pytest
import torch

from onedpiece.tokenizer import key_mask, sample_lengths


@pytest.mark.parametrize("law", ["uniform", "log_uniform", "mixture", "power_of_two", "full"])
@pytest.mark.parametrize("tokens", [1, 7, 256])
def test_lengths_stay_in_range_and_repeat_with_their_generator(law: str, tokens: int):
    lengths = sample_lengths(2000, tokens, law, torch.Generator().manual_seed(3))
    assert lengths.dtype == torch.int64
    assert lengths.min() >= 1
    assert lengths.max() <= tokens
    assert torch.equal(lengths, sample_lengths(2000, tokens, law, torch.Generator().manual_seed(3)))


def test_means_of_the_laws():
    def mean(law: str) -> float:
        return float(sample_lengths(40_000, 256, law, torch.Generator().manual_seed(0)).float().mean())

    assert mean("uniform") == pytest.approx(128.5, rel=0.02)
    # floor(exp(u·ln 257)): the mean of a log-uniform on [1, 257) is 256/ln 257 = 46.1, less half a token.
    assert mean("log_uniform") == pytest.approx(45.6, rel=0.03)
    assert mean("mixture") == pytest.approx((128.5 + 45.6) / 2, rel=0.02)
    # 1, 2, 4, …, 256: 511/9.
    assert mean("power_of_two") == pytest.approx(511 / 9, rel=0.03)
    assert mean("full") == 256


def test_powers_of_two_only():
    lengths = sample_lengths(500, 256, "power_of_two", torch.Generator().manual_seed(0))
    assert set(lengths.tolist()) == {2**i for i in range(9)}


def test_unknown_law():
    with pytest.raises(ValueError, match="log_uniform"):
        sample_lengths(1, 2, "gauss")  # type: ignore[arg-type]


def test_mask():
    assert key_mask(torch.tensor([1, 3]), 3).tolist() == [[True, False, False], [True, True, True]]


def test_log_uniform_reaches_the_whole_code_as_often_as_its_law_says():
    # floor(exp(u·ln 5)) is k with probability ln((k + 1)/k)/ln 5: .431, .252, .179 and, for all four, .139.
    lengths = sample_lengths(40_000, 4, "log_uniform", torch.Generator().manual_seed(0))
    shares = (torch.bincount(lengths, minlength=5)[1:] / 40_000).tolist()
    assert shares == pytest.approx([0.431, 0.252, 0.179, 0.139], abs=0.01)
