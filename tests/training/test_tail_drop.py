import pytest
import torch

from onedpiece.training.tail_drop import Prefix, TailDropConfig, draw_prefixes


def draw(config: TailDropConfig, seed: int = 0, batch: int = 6, tokens: int = 16) -> list[Prefix]:
    return draw_prefixes(batch, tokens, config, torch.Generator().manual_seed(seed))


def test_a_length_per_sample_and_the_whole() -> None:
    prefix, full = draw(TailDropConfig(prefix_weight=0.5, full_weight=2.0))
    assert (prefix.weight, prefix.kept) == (0.5, 16)  # one static shape
    assert prefix.lengths is not None
    assert prefix.lengths.shape == (6,)
    assert 1 <= int(prefix.lengths.min()) <= int(prefix.lengths.max()) <= 16
    assert full == Prefix(2.0, 16, None)


def test_one_length_a_batch_truncates() -> None:
    kept = {draw(TailDropConfig(lengths="per_batch"), seed)[0] for seed in range(40)}
    assert all(prefix.lengths is None and 1 <= prefix.kept <= 16 for prefix in kept)
    assert len(kept) > 5
    assert draw(TailDropConfig(lengths="per_batch", prefix_weight=0.5))[0].weight == 0.5


def test_law_is_passed_on() -> None:
    config = TailDropConfig(distribution="power_of_two", lengths="per_batch")
    assert {draw(config, seed)[0].kept for seed in range(60)} == {1, 2, 4, 8, 16}


def test_full_probability_is_a_share_of_steps() -> None:
    config = TailDropConfig(full_probability=0.25)
    full = sum(len(draw(config, seed)) == 2 for seed in range(400))
    # 400 · 0.25 = 100, standard deviation √(400 · ¼ · ¾) = 8.7
    assert 70 < full < 130


def test_either_or() -> None:
    config = TailDropConfig(full_probability=0.5, both=False)
    drawn = [draw(config, seed) for seed in range(50)]
    assert all(len(prefixes) == 1 for prefixes in drawn)
    assert {prefixes[0].lengths is None for prefixes in drawn} == {True, False}


def test_weight_zero_leaves_a_pass_out() -> None:
    assert draw(TailDropConfig(prefix_weight=0.0, full_probability=0.0)) == [Prefix(1.0, 16, None)]
    assert len(draw(TailDropConfig(full_weight=0.0))) == 1


def test_same_generator_same_lengths() -> None:
    first, second = draw(TailDropConfig(), 3)[0], draw(TailDropConfig(), 3)[0]
    assert first.lengths is not None
    assert second.lengths is not None
    assert torch.equal(first.lengths, second.lengths)


@pytest.mark.parametrize("given", [{"full_probability": 1.5}, {"prefix_weight": 0.0, "full_weight": 0.0}])
def test_nonsense_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="tail_drop"):
        TailDropConfig(**given)
