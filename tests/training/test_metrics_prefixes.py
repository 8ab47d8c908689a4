import pytest
import torch

from onedpiece.metrics.pixel import psnr
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.training.metrics import PERFECT_DB, PrefixMetrics, counts_within, grade_sizes


def test_counts_are_cut_to_the_tokenizer() -> None:
    assert counts_within((8, 32, 128, 256), 64) == (8, 32, 64)


def test_grades(tokenizer_config: TokenizerConfig) -> None:
    assert grade_sizes(tokenizer_config) == (4, 12)


def test_means_over_batches_of_different_size(tokenizer_config: TokenizerConfig) -> None:
    tokenizer = Tokenizer(tokenizer_config)
    x = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whole = PrefixMetrics(tokenizer_config, (4, 16), torch.device("cpu"))
    whole.update(tokenizer, x)
    parts = PrefixMetrics(tokenizer_config, (4, 16), torch.device("cpu"))
    parts.update(tokenizer, x[:3])
    parts.update(tokenizer, x[3:])
    assert parts.results() == pytest.approx(whole.results(), rel=1e-5)
    expected = psnr(x, tokenizer.detokenize(tokenizer.tokenize(x)[:, :4])).mean().item()
    assert whole.results()["psnr_4"] == pytest.approx(expected, rel=1e-5)


def test_codes_used_counts_by_grade(tokenizer_config: TokenizerConfig) -> None:
    class Same(Tokenizer):
        def tokenize(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[0, 1, 2, 3, *[3] * 12]]).expand(len(x), -1)

    metrics = PrefixMetrics(tokenizer_config, (16,), torch.device("cpu"))
    metrics.update(Same(tokenizer_config), torch.rand(2, 3, 32, 32))
    # 4 codes in the first grade, 1 in the second (whose 3 is another one), of 2 · 4096
    assert metrics.results()["codes_used"] == pytest.approx(5 / 8192)


def test_sums_over_processes(tokenizer_config: TokenizerConfig) -> None:
    metrics = PrefixMetrics(tokenizer_config, (16,), torch.device("cpu"))
    metrics.update(Tokenizer(tokenizer_config), torch.rand(2, 3, 32, 32))
    twice = metrics.results(total=lambda x: x * 2)  # as if two processes had seen the same
    assert twice == pytest.approx(metrics.results())


def test_distance_is_averaged(tokenizer_config: TokenizerConfig) -> None:
    metrics = PrefixMetrics(
        tokenizer_config, (4, 16), torch.device("cpu"), lambda image, _: torch.arange(len(image)).float()
    )
    metrics.update(Tokenizer(tokenizer_config), torch.rand(4, 3, 32, 32))
    # (0 + 1 + 2 + 3) / 4
    assert metrics.results()["lpips_16"] == 1.5


def test_exact_pictures_count_as_a_finite_number(tokenizer_config: TokenizerConfig) -> None:
    class Perfect(Tokenizer):
        def detokenize(self, indices: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
            return torch.zeros(len(indices), 3, 32, 32)

    metrics = PrefixMetrics(tokenizer_config, (4,), torch.device("cpu"))
    metrics.update(Perfect(tokenizer_config), torch.zeros(2, 3, 32, 32))
    assert metrics.results()["psnr_4"] == PERFECT_DB
