import pytest
import torch

from onedpiece.training.augment import AugmentConfig, augment, random_crop, random_flip, to_unit


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_bytes_to_unit() -> None:
    assert to_unit(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0.0, 0.2, 1.0])


def test_flip_mirrors_about_half_and_nothing_else() -> None:
    x = torch.rand(200, 3, 2, 4, generator=generator())
    out = random_flip(x, generator())
    mirrored = (out == x.flip(3)).all(dim=(1, 2, 3))
    kept = (out == x).all(dim=(1, 2, 3))
    assert bool((mirrored ^ kept).all())
    assert 70 < int(mirrored.sum()) < 130  # 100 expected, standard deviation 7


def test_crop_of_everything_is_the_picture() -> None:
    x = torch.rand(2, 3, 8, 8, generator=generator())
    assert torch.allclose(random_crop(x, 1.0, generator()), x, atol=1e-5)


def test_crop_zooms_in_and_stays_inside() -> None:
    # A horizontal ramp of slope 1: a crop of scale s has slope s, at most 1, at least the smallest scale.
    ramp = torch.arange(16.0).expand(50, 3, 16, 16)
    out = random_crop(ramp, 0.5, generator())
    slope = (out[..., 8] - out[..., 7])[:, 0, 8]
    assert 0.5 <= float(slope.min()) < 0.6
    assert 0.9 < float(slope.max()) <= 1.0
    assert 0 <= float(out.min()) <= float(out.max()) <= 15


def test_augment_does_what_it_is_told() -> None:
    x = torch.rand(4, 3, 8, 8, generator=generator())
    assert torch.equal(augment(x, AugmentConfig(flip=False, min_scale=1.0), generator()), x)
    assert torch.equal(augment(x, AugmentConfig(flip=True), generator()), random_flip(x, generator()))


def test_scale_is_checked() -> None:
    with pytest.raises(ValueError, match=r"augment\.min_scale"):
        AugmentConfig(min_scale=0.0)
