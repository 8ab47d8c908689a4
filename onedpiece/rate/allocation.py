"""Greedy marginal-gain rate allocation over tiles: the next token goes where it removes most error."""

import numpy as np
from numpy.typing import NDArray


def allocate_tokens(errors: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Return how many tokens each tile gets, (T,), at least 1 each and `total` in all.

    All tokens take the same number of bytes, so that the greedy choice of the largest marginal gain minimises
    the sum of the errors, exactly where each tile's gains fall. Where they do not, the gains are those of the
    error's lower convex hull: tokens that pay only together are bought together, at their mean.

    Args:
        errors: (T, N), each tile's error after 1 to N tokens, in one unit for all tiles.
        total: T to T·N.

    Raises:
        ValueError: `total` is out of range.
    """
    tiles, most = errors.shape
    if not tiles <= total <= tiles * most:
        raise ValueError(f"{total} tokens for {tiles} tiles; give {tiles} to {tiles * most}")
    gains = np.stack([-np.diff(_hull(row)) for row in errors])
    # A stable sort of equal gains goes by place first: flat tiles then grow together.
    best = np.argsort(-gains.T.ravel(), kind="stable")[: total - tiles]
    return 1 + np.bincount(best % tiles, minlength=tiles).astype(np.int64)


def _hull(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The lower convex hull of an error curve, (N,), at every count."""
    corners: list[int] = []
    for at, error in enumerate(errors):
        while len(corners) > 1:
            before, last = corners[-2], corners[-1]
            # The last corner is above the line from the one before it to here.
            if (errors[last] - errors[before]) * (at - before) < (error - errors[before]) * (last - before):
                break
            corners.pop()
        corners.append(at)
    return np.asarray(np.interp(np.arange(len(errors)), corners, errors[corners]))


def allocate_equally(tiles: int, total: int) -> NDArray[np.int64]:
    """Return `total` tokens in shares that differ by at most one: the baseline of `allocate_tokens`."""
    return np.full(tiles, total // tiles) + (np.arange(tiles) < total % tiles)
