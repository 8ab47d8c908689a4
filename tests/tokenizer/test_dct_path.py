"""The linear path: orthonormality, order, truncation, and what an untrained codec reaches."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from onedpiece.tokenizer import Tokenizer, TokenizerConfig, preset
from onedpiece.tokenizer.dct_path import LinearPath, activity, colour_rotation, dct_matrix
from onedpiece.tokenizer.quantizer import SCALE_FACTORS
from onedpiece.weights import untrained


@pytest.fixture(scope="module")
def small(small_config: Callable[..., TokenizerConfig]) -> TokenizerConfig:
    return small_config(num_tokens=12, fsq_grades=((4, (64, 64)), (8, (16, 16, 16))))


@pytest.mark.parametrize("size", [4, 16, 64])
def test_dct_is_orthonormal(size: int):
    basis = dct_matrix(size)
    torch.testing.assert_close(basis @ basis.T, torch.eye(size), atol=1e-5, rtol=0)
    # Row 0 is constant, 1/sqrt(size).
    torch.testing.assert_close(basis[0], torch.full((size,), size**-0.5))


def test_colours_are_an_orthonormal_rotation_with_luma_first():
    rotation = colour_rotation()
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-6, rtol=0)
    grey = rotation @ torch.ones(3)
    torch.testing.assert_close(grey, torch.tensor([3**0.5, 0.0, 0.0]), atol=1e-6, rtol=0)


def test_all_coefficients_restore_the_downscaled_picture(small: TokenizerConfig):
    path = LinearPath(small)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    coefficients = path.coefficients(x).view(2, 3, 16, 16)
    rotated = path.dct.T @ coefficients @ path.dct
    restored = torch.einsum("oc,bohw->bchw", path.colours, rotated) + 0.5
    torch.testing.assert_close(restored, F.avg_pool2d(x, 2), atol=1e-5, rtol=0)


def test_a_flat_grey_picture_has_only_its_mean(small: TokenizerConfig):
    path = LinearPath(small)
    x = torch.full((1, 3, 32, 32), 0.75)
    coefficients = path.coefficients(x)[0]
    # (0.75 − 0.5)·sqrt(3) in luma, times 16 for the DC of an orthonormal 16×16 DCT: 6.928.
    assert coefficients[0].item() == pytest.approx(0.25 * 3**0.5 * 16, abs=1e-4)
    assert coefficients[1:].abs().max() < 1e-4


def test_latents_fill_each_grade_and_leave_the_rest_zero(small: TokenizerConfig):
    latents = LinearPath(small).analyse(torch.rand(1, 3, 32, 32))
    assert latents.shape == (1, 12, 3)
    assert (latents[:, :4, 2] == 0).all()  # the first grade has two channels of three
    assert (latents[:, 4:].abs().sum(-1) > 0).all()


def test_fit_orders_by_energy(small: TokenizerConfig):
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(64, 3, 1, 1, generator=generator).expand(-1, -1, 32, 32)  # flat colours only
    path = LinearPath(small)
    path.fit([pictures[:32], pictures[32:]])
    assert path.order[:3].remainder(16 * 16).tolist() == [0, 0, 0]  # the DCs of the three colour planes
    # Mean colours with 64 levels lie evenly over what a picture can have: ½·√3·16 for luma's DC.
    assert path.scale[path.order[:3].tolist().index(0)].item() == pytest.approx(8 * 3**0.5)
    with pytest.raises(ValueError, match="at least 2"):
        path.fit([pictures[:1]])


def flat_and_detailed(contrast: float, means: torch.Tensor, count: int = 64) -> torch.Tensor:
    """Pictures (count, 3, 32, 32) of smooth noise of a contrast, its own means replaced by others."""
    noise = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    detail = F.interpolate(noise, 32, mode="bilinear")
    return contrast * (detail - detail.mean(dim=(2, 3), keepdim=True)) + means.view(-1, 3, 1, 1)


def test_fit_knows_contrast_from_shape(small: TokenizerConfig):
    # Half the contrast: half the scales, and the lattices in units of them stay.
    means = torch.rand(64, 3, generator=torch.Generator().manual_seed(2))
    one, other = LinearPath(small), LinearPath(small)
    one.fit([flat_and_detailed(0.4, means)])
    other.fit([flat_and_detailed(0.2, means)])
    detailed = one.order % 16**2 != 0
    assert torch.equal(one.order, other.order)
    torch.testing.assert_close(other.scale[detailed], one.scale[detailed] / 2)
    torch.testing.assert_close(other.scale[~detailed], one.scale[~detailed])
    torch.testing.assert_close(other.centroids, one.centroids, atol=1e-4, rtol=1e-4)


def test_fit_looks_at_all_batches_and_leaves_even_lattices_alone(small: TokenizerConfig):
    several, at_once, other = LinearPath(small), LinearPath(small), LinearPath(small)
    pictures = flat_and_detailed(0.4, torch.rand(64, 3, generator=torch.Generator().manual_seed(2)))
    several.fit(pictures.split(8))
    at_once.fit([pictures])
    torch.testing.assert_close(several.centroids, at_once.centroids)
    # Mean colours have lattices of their own: whatever they are, those of the rest are the same.
    other.fit([flat_and_detailed(0.4, torch.tensor([[0.9, 0.8, 0.1]]).expand(64, 3))])
    assert set(other.order[:8].tolist()) == set(at_once.order[:8].tolist())  # those of 64 levels
    torch.testing.assert_close(other.centroids, at_once.centroids)


def test_few_levels_are_fitted_to_mean_colours_too(small_config: Callable[..., TokenizerConfig]):
    path = LinearPath(small_config(fsq_grades=((16, (16, 16, 16)),)))
    # The fresh spectrum gives luma's DC a variance of (16/4)²: its scale is 4 times a lattice's factor, and
    # not the ½·√3·16 = 13.9 of the most extreme picture.
    luma = path.scale[path.order.tolist().index(0)].item() / 4
    assert min(abs(luma - factor) for factor in SCALE_FACTORS) < 1e-5


def test_absent_tokens_are_as_if_masked(small: TokenizerConfig):
    tokenizer = Tokenizer(small)
    codes = tokenizer.encode(torch.rand(2, 3, 32, 32)).codes
    assert tokenizer.linear_path is not None
    cut = tokenizer.linear_path.synthesise(codes[:, :5])
    masked = tokenizer.linear_path.synthesise(codes, torch.arange(12).expand(2, -1) < 5)
    torch.testing.assert_close(cut, masked, atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def whole() -> Tokenizer:
    """The untrained tokenizer with the bundled statistics; its networks add nothing yet."""
    return untrained("ti-256")


@pytest.fixture(scope="module")
def bundled_statistics(whole: Tokenizer) -> Tokenizer:
    """The same with networks of one layer."""
    thin = Tokenizer(replace(whole.config, encoder_layers=1, decoder_layers=1)).eval()
    assert thin.linear_path is not None
    assert whole.linear_path is not None
    thin.linear_path.load_state_dict(whole.linear_path.state_dict())
    return thin


def flat(*rgb: int, size: int = 256) -> torch.Tensor:
    return (torch.tensor(rgb).float() / 255).view(1, 3, 1, 1).expand(1, 3, size, size)


COLOURS = [(r, g, b) for r in (0, 128, 255) for g in (0, 128, 255) for b in (0, 128, 255)] + [(37, 201, 99)]


@pytest.mark.parametrize("rgb", COLOURS)
def test_a_flat_picture_comes_back_within_a_level_and_never_gets_worse(
    bundled_statistics: Tokenizer, rgb: tuple[int, int, int]
):
    indices = bundled_statistics.tokenize(flat(*rgb))
    errors = []
    for tokens in (16, 64, 255, 256):
        levels = (bundled_statistics.detokenize(indices[:, :tokens]) * 255).round()
        assert levels.std(dim=(2, 3)).max() == 0
        errors.append((levels[0, :, 0, 0] - torch.tensor(rgb)).abs().max().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] <= 1
    assert errors[0] <= 4


def test_so_it_does_behind_all_layers(whole: Tokenizer, bundled_statistics: Tokenizer):
    x = flat(37, 201, 99)
    indices = whole.tokenize(x)
    assert torch.equal(indices, bundled_statistics.tokenize(x))
    for tokens in (16, 256):
        decoded = whole.detokenize(indices[:, :tokens])
        assert torch.equal(decoded, bundled_statistics.detokenize(indices[:, :tokens]))


def test_a_picture_may_be_drawn_on_another_grid(small: TokenizerConfig):
    path = LinearPath(small)
    codes = torch.zeros(1, 1, path.code_dim)
    mean = path.synthesise(codes).mean(dim=(2, 3))
    for size in (path.size // 2, 2 * path.size):
        other = path.synthesise(codes, size=size)
        assert other.shape == (1, 3, size, size)
        assert torch.allclose(other.mean(dim=(2, 3)), mean, atol=1e-5)
    # A wave of few periods is the same function of the place: sample 2·i + ½ of the double grid lies between
    # two of its neighbours, whose mean in turn is the coarse sample up to the wave's curvature.
    several = torch.zeros(1, 3, path.code_dim)
    several[0, 1] = 0.5
    coarse, fine = path.synthesise(several), path.synthesise(several, size=2 * path.size)
    assert float((coarse - coarse.mean()).abs().max()) > 0.01
    assert torch.allclose(F.avg_pool2d(fine, 2), coarse, atol=0.05 * float((coarse - 0.5).abs().max()))


def test_mirrored_codes_are_those_of_the_mirrored_picture(bundled_statistics: Tokenizer, photo: Image.Image):
    path = bundled_statistics.linear_path
    assert path is not None
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 255
    codes = bundled_statistics.encode(pixels).codes[:, :100]
    mirrored = path.mirrored(codes)
    assert torch.equal(path.mirrored(mirrored), codes)
    picture = path.synthesise(codes)
    assert torch.allclose(path.synthesise(mirrored), picture.flip(3), atol=1e-5)
    assert float((picture - picture.flip(3)).abs().max()) > 0.1


def test_the_last_token_refines_the_mean_colours(bundled_statistics: Tokenizer):
    path = bundled_statistics.linear_path
    assert path is not None
    x = flat(37, 201, 99)
    codes = bundled_statistics.encode(x).codes
    coarse = (path.synthesise(codes[:, :255])[0, :, 0, 0] - x[0, :, 0, 0]).norm()
    fine = (path.synthesise(codes)[0, :, 0, 0] - x[0, :, 0, 0]).norm()
    assert fine < coarse / 5  # cells of fifteen to seventeen parts


@pytest.fixture(scope="module")
def refining(small_config: Callable[..., TokenizerConfig]) -> TokenizerConfig:
    return small_config(num_tokens=17, fsq_grades=((16, (63, 65)), (1, (15, 15, 17))))


def test_refined_mean_colours_are_as_near_as_a_part_of_a_cell_is_wide(refining: TokenizerConfig):
    path, tokenizer = LinearPath(refining), Tokenizer(refining)
    colours = torch.rand(400, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    x = colours.expand(-1, -1, 32, 32)
    found = path.coefficients(path.synthesise(tokenizer.encode(x).codes))
    apart = (found - path.coefficients(x))[:, [0, 256, 512]].abs().amax(0)  # the three DCs
    for plane, parts in enumerate((15, 15, 17)):
        slot = path.order.tolist().index(256 * plane)
        cell = 2 * path.scale[slot] / ((63, 65)[slot % 2] - 1)
        # Parts of a cell are evenly wide, and a value lies in the middle of one: 0.5 at most from it.
        assert 0.45 < apart[plane] / (cell / parts) < 0.501


def test_a_refinement_of_colours_that_are_not_there_is_refused(small_config: Callable[..., TokenizerConfig]):
    # Two coefficients: luma's mean and its lowest frequency.
    few = small_config(num_tokens=2, fsq_grades=((1, (63, 65)), (1, (15, 15, 17))))
    with pytest.raises(ValueError, match="needs all three"):
        LinearPath(few)


def test_the_forecast_of_what_is_held_exactly_is_90_db(small: TokenizerConfig):
    grey = torch.full((1, 3, 32, 32), 0.5)  # all coefficients are 0
    odd = replace(small, fsq_grades=((4, (63, 65)), (8, (15, 15, 17))))
    assert LinearPath(odd).forecast(grey, Tokenizer(odd).encode(grey).codes).tolist() == [[90.0] * 12]


@pytest.mark.parametrize("fixture", ["small", "refining"])
def test_the_forecast_of_a_picture_that_the_path_holds_is_what_it_reaches(
    fixture: str, request: pytest.FixtureRequest
):
    config: TokenizerConfig = request.getfixturevalue(fixture)
    path, tokenizer = LinearPath(config), Tokenizer(config)
    assert tokenizer.linear_path is not None
    x = F.interpolate(torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(3)), 32, mode="bicubic")
    codes = tokenizer.encode(x).codes
    expected = path.forecast(x, codes)[0]
    for tokens in (1, 5, config.num_tokens):
        low = path.synthesise(codes[:, :tokens])
        error = F.mse_loss(low, path.downscale(x))
        detail = F.mse_loss(F.interpolate(path.downscale(x), 32, mode="bicubic"), x)
        assert expected[tokens - 1].item() == pytest.approx(
            float(-10 * torch.log10(error + detail)), abs=1e-3
        )


def test_nothing_is_active_where_the_picture_is_flat():
    half = torch.full((1, 3, 64, 64), 0.4)
    half[..., 32:] = torch.rand(3, 64, 32, generator=torch.Generator().manual_seed(0))
    map_ = activity(half, 256)
    assert map_[..., :64].max() == 0
    assert map_[..., 192:].min() > 0.9


def psnr(tokenizer: Tokenizer, picture: torch.Tensor, tokens: int) -> float:
    decoded = tokenizer.detokenize(tokenizer.tokenize(picture)[:, :tokens])
    return float(-10 * torch.log10(F.mse_loss(decoded, picture)))


@pytest.mark.slow
def test_an_untrained_tokenizer_is_a_codec_that_improves_with_every_doubling(photo: Image.Image):
    from torchvision.transforms.functional import pil_to_tensor

    picture = pil_to_tensor(photo)[None].float() / 255
    fitted, unfitted = untrained("ti-256"), Tokenizer(preset("ti-256"))
    for tokenizer in (fitted, unfitted):
        quality = [psnr(tokenizer, picture, tokens) for tokens in (8, 16, 32, 64, 128, 256)]
        assert quality == sorted(quality)
        assert quality[0] > 13
        assert quality[-1] > 18.5
    assert psnr(fitted, picture, 256) > psnr(unfitted, picture, 256)
