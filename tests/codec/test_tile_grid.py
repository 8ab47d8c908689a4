import numpy as np
import pytest
from PIL import Image

from onedpiece.codec.tile_grid import blend, cut, grid_of


@pytest.mark.parametrize("size", [(20, 9), (64, 64), (65, 64), (150, 97), (300, 40)])
def test_cutting_and_blending_is_nothing(photo: Image.Image, size: tuple[int, int]) -> None:
    small = photo.resize(size)
    grid = grid_of(size, 64, 8)
    tiles = [np.asarray(tile) for tile in cut(small, grid)]
    assert {tile.shape for tile in tiles} == {(64, 64, 3)}
    assert blend(tiles, grid).tobytes() == small.tobytes()


def test_a_fade_is_linear_and_ends_in_each_tile_alone() -> None:
    grid = grid_of((96, 64), 64, 8)  # tiles at 0 and 32 share 32 columns
    black, white = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
    row = np.asarray(blend([black, white], grid))[5, :, 0].astype(int)
    assert row[:32].tolist() == [0] * 32
    assert row[64:].tolist() == [255] * 32
    # Pixel 32 + j has weights (31.5 - j)/32 and (j + 0.5)/32, whose sum is 1.
    assert row[32:64].tolist() == [round(255 * (j + 0.5) / 32) for j in range(32)]


def test_bands_join_without_a_trace(photo: Image.Image) -> None:
    tall = photo.resize((40, 700))
    grid = grid_of(tall.size, 64, 8)
    assert blend([np.asarray(tile) for tile in cut(tall, grid)], grid).tobytes() == tall.tobytes()
