from itertools import product

import numpy as np
import pytest

from onedpiece.rate.allocation import allocate_equally, allocate_tokens


def falling(seed: int, tiles: int, most: int) -> np.ndarray:
    """Errors whose gains fall from token to token, of tiles that differ tenfold."""
    rng = np.random.default_rng(seed)
    gains = -np.sort(-rng.exponential(1, (tiles, most)), axis=1) * 10 ** rng.uniform(-1, 1, (tiles, 1))
    return gains.sum(1, keepdims=True) - np.cumsum(gains, axis=1)


@pytest.mark.parametrize("total", [3, 5, 8, 12])
def test_it_is_the_best_of_all_shares(total: int) -> None:
    for seed in range(5):
        errors = falling(seed, 3, 4)
        every = [counts for counts in product(range(1, 5), repeat=3) if sum(counts) == total]
        best = min(sum(errors[tile, count - 1] for tile, count in enumerate(counts)) for counts in every)
        counts = allocate_tokens(errors, total)
        assert counts.sum() == total
        assert errors[np.arange(3), counts - 1].sum() == pytest.approx(best)


def test_a_flat_tile_costs_little() -> None:
    sky, face = np.full(100, 0.5), np.linspace(9, 0, 100)
    assert allocate_tokens(np.stack([sky, face]), 60).tolist() == [1, 59]


def test_equal_tiles_get_equal_shares() -> None:
    errors = np.tile(1 / np.arange(1, 101), (5, 1))
    assert allocate_tokens(errors, 50).tolist() == [10] * 5


def test_a_late_gain_is_reached_through_an_early_loss() -> None:
    # The second token of the first tile brings nothing, its third 5: together more than the other's 1 and 1.
    errors = np.array([[9.0, 9.0, 4.0, 4.0], [3.0, 2.0, 1.0, 0.0]])
    assert allocate_tokens(errors, 4).tolist() == [3, 1]


def test_totals_out_of_range() -> None:
    for total in (1, 9):
        with pytest.raises(ValueError, match=f"{total} tokens for 2 tiles; give 2 to 8"):
            allocate_tokens(falling(0, 2, 4), total)


def test_equal_shares_differ_by_at_most_one() -> None:
    assert allocate_equally(4, 10).tolist() == [3, 3, 2, 2]
