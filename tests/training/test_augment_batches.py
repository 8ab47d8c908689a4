import math

import pytest
import torch

from onedpiece.training.augment import ViewConfig, draw_views

EVERYTHING = ViewConfig(min_scale=0.5, aspect=0.2, flip=True, brightness=0.3, colour=0.1)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_is_the_identity() -> None:
    x = torch.randn(3, 3, 8, 8, generator=_generator())
    views = draw_views(3, ViewConfig(), _generator())
    assert not ViewConfig().alters
    assert torch.equal(views.picture(x), x)
    assert torch.equal(views.mask(x[:, 0]), x[:, 0])


def test_flips_are_mirror_images_of_half() -> None:
    x = torch.randn(64, 3, 8, 8, generator=_generator())
    seen = draw_views(64, ViewConfig(flip=True), _generator()).picture(x)
    same = [bool(torch.allclose(a, b, atol=1e-5)) for a, b in zip(seen, x, strict=True)]
    mirrored = [bool(torch.allclose(a, b.flip(2), atol=1e-5)) for a, b in zip(seen, x, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 16 <= sum(mirrored) <= 48  # 32 ± 4 deviations of √(64 · 0.5 · 0.5) = 4


def test_crops_stay_inside_the_photo() -> None:
    views = draw_views(500, EVERYTHING, _generator())
    width, height = views.affine[:, 0, 0].abs(), views.affine[:, 1, 1]
    x, y = views.affine[:, 0, 2], views.affine[:, 1, 2]
    # Places run from -1 to 1: a crop of half-width w around x ends at |x| + w.
    assert float((x.abs() + width).max()) <= 1 + 1e-6
    assert float((y.abs() + height).max()) <= 1 + 1e-6
    assert float(width.min()) >= 0.5 * math.exp(-0.2)
    assert float(width.min()) < 0.6 < 0.9 < float(width.max())


def test_aspects_are_off_both_ways() -> None:
    views = draw_views(500, ViewConfig(min_scale=0.5, aspect=0.2), _generator())
    ratio = (views.affine[:, 0, 0] / views.affine[:, 1, 1]).log()
    # Twice the aspect where neither side is cut off at the photo's.
    assert -0.4 - 1e-6 <= float(ratio.min()) < -0.3
    assert 0.3 < float(ratio.max()) <= 0.4 + 1e-6


def test_masks_move_with_the_picture() -> None:
    # The left half of the photo is 1 in every channel and in the mask; after any crop and flip they agree,
    # but at the border, where the picture is blended and the mask is not.
    field = torch.zeros(32, 16, 16)
    field[:, :, :8] = 1
    views = draw_views(32, ViewConfig(min_scale=0.6, flip=True), _generator(3))
    picture = views.picture(field[:, None].expand(-1, 3, -1, -1))[:, 0]
    mask = views.mask(field.byte())
    assert mask.dtype == torch.uint8
    clear = (picture - 0.5).abs() > 0.49
    assert float(clear.float().mean()) > 0.8
    assert torch.equal(mask[clear].float(), picture[clear].round())


def test_light_changes_all_channels_and_colour_each() -> None:
    x = torch.ones(16, 3, 4, 4)
    light = draw_views(16, ViewConfig(brightness=0.3), _generator()).picture(x)
    assert torch.equal(light[:, 0], light[:, 2])
    assert 0 < float((light - 1).abs().max()) <= 0.6  # gain and shift are off by at most 0.3 each
    colour = draw_views(16, ViewConfig(colour=0.1), _generator()).picture(x)
    assert not torch.equal(colour[:, 0], colour[:, 2])
    assert float((colour - 1).abs().max()) <= 0.1 + 1e-6


def test_views_follow_from_the_generator() -> None:
    first, again, other = (draw_views(4, EVERYTHING, _generator(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first[:3], again[:3], strict=True))
    assert not torch.equal(first.affine, other.affine)


@pytest.mark.parametrize("name", ["min_scale", "aspect"])
def test_what_moves_is_known(name: str) -> None:
    assert ViewConfig(**{name: 0.5}).moves
    assert not ViewConfig(brightness=0.1).moves
    assert ViewConfig(brightness=0.1).alters


def test_views_go_where_the_pictures_lie() -> None:
    views = draw_views(2, EVERYTHING, _generator())
    assert views.picture(torch.ones(2, 3, 4, 4, device="meta")).is_meta
    assert views.mask(torch.ones(2, 4, 4, device="meta")).is_meta
