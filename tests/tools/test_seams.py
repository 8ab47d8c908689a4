import numpy as np
import pytest
from PIL import Image, ImageFilter

from onedpiece.codec.tile_grid import Grid, blend, cut, grid_of
from tools.seams import Decoded, borders

SIDE, OVERLAP = 64, 8
PARTS = ((0, 0, 150, 110), (20, 9, 180, 120))


def tiled(photo: Image.Image, part: tuple[int, int, int, int], brighter: int = 0) -> Decoded:
    """Return a part as its tiles show it, every second of them brighter and no fade between them."""
    inside = photo.crop(part)
    grid = grid_of(inside.size, SIDE, OVERLAP)
    pixels = np.asarray(inside).copy()
    for number, left in enumerate(grid.lefts):
        pixels[:, left : left + SIDE] += np.uint8(brighter * (number % 2))
    return Decoded(part[:2], Image.fromarray(pixels), grid)


@pytest.fixture
def smooth(photo: Image.Image) -> Image.Image:
    darker = photo.resize((180, 120)).point(lambda level: level // 2)
    return darker.filter(ImageFilter.GaussianBlur(3))


def test_tiles_that_do_not_show_leave_the_gradient_as_it_is(smooth: Image.Image) -> None:
    found = borders([tiled(smooth, part) for part in PARTS])
    assert len(found) >= 6
    assert all(border.across == pytest.approx(border.without) for border in found)


def test_a_step_of_brightness_between_tiles_is_seen(smooth: Image.Image) -> None:
    found = borders([tiled(smooth, part, brighter=20) for part in PARTS])
    shown = [border.across - border.without for border in found]
    assert max(shown) > 1
    assert np.mean(shown) > 0.5


def test_a_fade_hides_what_a_step_shows(smooth: Image.Image) -> None:
    def faded(part: tuple[int, int, int, int]) -> Decoded:
        inside = smooth.crop(part)
        grid = grid_of(inside.size, SIDE, OVERLAP)
        tiles = [np.asarray(tile) + np.uint8(at % 2 * 20) for at, tile in enumerate(cut(inside, grid))]
        return Decoded(part[:2], blend(tiles, grid), grid)

    def seam(parts: list[Decoded]) -> float:
        return float(np.mean([border.across - border.without for border in borders(parts)]))

    assert abs(seam([faded(part) for part in PARTS])) < 0.3 * seam(
        [tiled(smooth, part, brighter=20) for part in PARTS]
    )


def test_a_border_where_the_other_tiling_has_one_too_is_left_out(smooth: Image.Image) -> None:
    part = tiled(smooth, PARTS[0])
    assert borders([part, part]) == []
    assert borders([Decoded((0, 0), smooth, Grid(smooth.size, 180, [0], [0]))] * 2) == []


def test_two_pixels_either_side_belong_to_a_border() -> None:
    grid = grid_of((96, 64), SIDE, OVERLAP)  # tiles begin at 32 and end at 64

    def part(columns: range) -> Decoded:
        pixels = np.zeros((64, 96, 3), np.uint8)
        for column in columns:  # a step between this column and the one before
            pixels[:, column:] += 10
        return Decoded((0, 0), Image.fromarray(pixels), grid)

    plain = Decoded((0, 0), part(range(1, 96, 9)).picture, Grid((96, 64), 96, [0], [0]))
    for column, seen in ((30, False), (31, True), (32, True), (33, True), (34, False)):
        first = borders([part(range(column, column + 1)), plain])[0]
        assert (first.across > 0) == seen


def test_parts_that_share_nothing_are_refused(smooth: Image.Image) -> None:
    parts = [tiled(smooth, part) for part in ((0, 0, 80, 80), (100, 0, 180, 80))]
    with pytest.raises(ValueError, match=r"the parts at \(0, 0\) and \(100, 0\) share no area"):
        borders(parts)
