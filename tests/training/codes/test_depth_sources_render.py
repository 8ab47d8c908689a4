"""Depths of rendered scenes against what the rays say."""

import numpy as np

from onedpiece.training.codes.depth_sources import FAR, render


def test_a_seed_has_one_scene() -> None:
    one, same, other = render(3, 32), render(3, 32), render(4, 32)
    np.testing.assert_array_equal(one.pixels, same.pixels)
    np.testing.assert_array_equal(one.depth, same.depth)
    assert (one.pixels != other.pixels).any()
    assert one.pixels.shape == (32, 32, 3)


def test_depths_end_at_the_wall_and_things_are_nearer_than_the_floor() -> None:
    side = 64
    down = np.tan(np.pi / 6) * ((np.arange(side) + 0.5) / side * 2 - 1)
    floor = np.where(down > 0, 1.5 / np.maximum(down, 1e-9), np.inf)  # eye 1.5 m above it: z = 1.5 / slope
    ground = np.minimum(floor, FAR)[:, None]
    for seed in range(12):
        depth = render(seed, side).depth
        assert (depth > 0).all()
        assert (depth <= ground * (1 + 1e-5)).all()
        assert (np.isclose(depth, ground, rtol=1e-5)).any()  # some of it is seen
        assert (depth < 0.99 * ground).any()  # and something stands on it
