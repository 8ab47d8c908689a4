"""Fitted lattices: Lloyd–Max's known optimum, and the straight-through gradient."""

import pytest
import torch

from onedpiece.tokenizer.quantizer import fit_lattice, restore


def normal_quantiles(count: int = 20_000) -> torch.Tensor:
    return torch.special.ndtri((torch.arange(count) + 0.5) / count)


@pytest.mark.parametrize(
    ("levels", "optimum", "excess"), [(4, 0.1175, 1.01), (8, 0.03454, 1.1), (16, 0.009497, 1.19)]
)
def test_a_normal_is_quantised_nearly_as_well_as_can_be(levels: int, optimum: float, excess: float):
    # Max (1960), table 1: the least mean squared error of a unit normal at so many levels. The tanh spaces
    # its thresholds otherwise, which costs more the more levels there are.
    error = fit_lattice(normal_quantiles(), levels).error
    assert optimum * 0.99 < error < optimum * excess


def test_a_heavier_tail_gets_a_wider_lattice():
    normal = normal_quantiles()
    laplace = normal.sign() * -torch.log1p(-torch.special.erf(normal.abs() / 2**0.5)) / 2**0.5
    assert fit_lattice(laplace, 8).error > fit_lattice(normal, 8).error
    assert fit_lattice(laplace, 8).centroids.max() > fit_lattice(normal, 8).centroids.max()


@pytest.mark.parametrize("levels", [3, 5, 7, 63])
def test_the_middle_of_an_odd_lattice_is_exactly_zero(levels: int):
    skewed = normal_quantiles().abs() - 0.4
    centroids = fit_lattice(skewed, levels).centroids
    assert centroids[levels // 2] == 0
    torch.testing.assert_close(centroids, -centroids.flip(0))


def test_every_level_has_its_own_centroid():
    centroids = fit_lattice(torch.zeros(10), 16).centroids  # all data on one level
    assert (centroids.diff() > 0).all()


def test_restore_looks_up_and_has_the_slope_of_its_neighbours():
    # Two lattices of 4 levels, whose codes are −1, −1/3, 1/3 and 1.
    centroids = torch.tensor([-3.0, -1.0, 1.0, 3.0, -9.0, 0.0, 1.0, 9.0])
    levels, first = torch.tensor([4, 4]), torch.tensor([0, 4])
    codes = torch.tensor([[-1.0, -1 / 3], [1.0, 1.0]], requires_grad=True)  # levels (0, 1) and (3, 3)
    values = restore(codes, levels, first, centroids)
    assert values.tolist() == [[-3.0, 0.0], [3.0, 9.0]]
    values.sum().backward()
    # A code step of 2/3 is one level, so d value / d code = 1.5 · slope: 1.5·(−1+3)/1 = 3 and
    # 1.5·(1+9)/2 = 7.5 below, 1.5·(3−1)/1 = 3 and 1.5·(9−1)/1 = 12 at the top.
    assert codes.grad is not None
    torch.testing.assert_close(codes.grad, torch.tensor([[3.0, 7.5], [3.0, 12.0]]))
    # Beyond the last level is the last level, not the next lattice's first.
    assert restore(torch.tensor([[1.9, -1.9]]), levels, first, centroids).tolist() == [[3.0, -9.0]]
