import torch

from onedpiece.training.augment import Crop, crop_resize, sample_crop


def test_views_lie_inside() -> None:
    generator = torch.Generator().manual_seed(0)
    views = [sample_crop(64, 32, 0.25, generator) for _ in range(200)]
    assert all(0 <= v.top <= 64 - v.side and 0 <= v.left <= 64 - v.side for v in views)
    assert min(v.side for v in views) < 20
    assert max(v.side for v in views) > 60
    assert {v.mirrored for v in views} == {True, False}


def test_a_view_may_end_where_the_picture_does() -> None:
    generator = torch.Generator().manual_seed(0)
    places = [v.top for v in (sample_crop(2, 1, 0.3, generator) for _ in range(50)) if v.side == 1]
    assert set(places) == {0, 1}


def test_look_crops_and_mirrors() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 3, 4, 4)
    seen = crop_resize(x, Crop(top=1, left=2, side=2, out=2, mirrored=True))
    # rows 1 and 2, columns 2 and 3, right to left
    assert seen[0, 0].tolist() == [[7.0, 6.0], [11.0, 10.0]]


def test_look_scales() -> None:
    x = torch.full((2, 3, 16, 16), 0.25)
    seen = crop_resize(x, Crop(0, 0, 16, 8, False))
    assert seen.shape == (2, 3, 8, 8)
    assert torch.allclose(seen, torch.full_like(seen, 0.25))
