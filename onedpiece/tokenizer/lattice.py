"""Scalar lattices of FSQ fitted to data: how to scale a value before rounding, and what a level stands for.

FSQ bounds by tanh and rounds. Undoing the tanh at the outermost levels gives values far outside the data
(atanh near 1), so each level is restored to the mean of what was rounded to it (Lloyd–Max's condition).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

SCALE_FACTORS = tuple(0.3 * 1.12**i for i in range(24))
"""Standard deviations per unit of latent that `fit_lattice` chooses from: 0.3 … 4.1."""

SATURATED = 1.0 - 1e-4
"""The largest |tanh| that `latent_of` asks for; any lattice rounds it to its outermost level."""


class Lattice(NamedTuple):
    """One fitted lattice of L levels.

    Attributes:
        factor: values are divided by this many standard deviations before the bound.
        centroids: (L,), what each level is restored to, in the divided units.
        error: mean squared error on unit-variance values.
    """

    factor: float
    centroids: Tensor
    error: float


def level_index(latents: Tensor, levels: int | Tensor) -> Tensor:
    """Return the level, 0 to L − 1 as floats, that FSQ rounds latents (…,) to.

    The symmetry-preserving form: L levels evenly on [−1, 1], both ends included, zero for odd L.

    Source: FSQ, arXiv 2309.15505, and its symmetric variant in arXiv 2411.19842 §A.
    """
    return torch.floor((levels - 1) * (torch.tanh(latents) + 1) / 2 + 0.5)


def latent_of(position: Tensor) -> Tensor:
    """Return the latents whose tanh is `position`, held inside ±`SATURATED`."""
    return torch.atanh(position.clamp(-SATURATED, SATURATED))


def fit_lattice(values: Tensor, levels: int) -> Lattice:
    """Return the lattice that loses least on values (M,) of about unit variance."""
    return min((_lattice(values, levels, factor) for factor in SCALE_FACTORS), key=lambda found: found.error)


def _lattice(values: Tensor, levels: int, factor: float) -> Lattice:
    scaled = values / factor
    # A thin uniform sample beside the data gives every level a centroid, also one that no datum falls on.
    probes = torch.linspace(-6, 6, 1025, device=values.device)
    points = torch.cat([scaled, probes])
    weights = torch.cat([torch.ones_like(scaled), torch.full_like(probes, 1e-6)])
    index = level_index(points, levels).long()
    mass = points.new_zeros(levels).index_add(0, index, weights)
    centroids = torch.zeros_like(mass).index_add(0, index, weights * points) / mass.clamp_min(1e-12)
    centroids = (centroids - centroids.flip(0)) / 2  # symmetric, so that the middle of an odd lattice is 0
    error = F.mse_loss(centroids[index[: len(values)]] * factor, values)
    return Lattice(factor, centroids, float(error))


def restore(codes: Tensor, levels: Tensor, first: Tensor, centroids: Tensor) -> Tensor:
    """Return the centroids of codes, with a straight-through gradient.

    Args:
        codes: (B, M) on symmetric FSQ lattices: L points from −1 to 1.
        levels: (M,) int, each column's number of levels.
        first: (M,) int, where each column's lattice begins in `centroids`.
        centroids: (T,), the centroids of all lattices one after another.

    Returns:
        (B, M). Its gradient is the centroids' local slope, so that training sees the true step size.
    """
    top = levels - 1
    position = (codes + 1) * (top / 2)
    index = position.detach().round().long().clamp_min(0).minimum(top)
    next_up, next_down = (index + 1).minimum(top), (index - 1).clamp_min(0)
    slope = (centroids[first + next_up] - centroids[first + next_down]) / (next_up - next_down)
    return centroids[first + index] + (position - position.detach()) * slope
