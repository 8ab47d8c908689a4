import math
import subprocess
import sys

import pytest
import torch
from PIL import Image

from onedpiece.codec.tensors import to_tensor
from onedpiece.metrics.descriptors import METRICS, TARGET_METRICS, metric
from onedpiece.metrics.pixel import ms_ssim, psnr, round_to_8_bits, ssim, ssim_reference
from onedpiece.metrics.registry import Scorer, available_scorer, image_scorer


def test_psnr_of_a_known_error() -> None:
    # Every pixel 51/255 = 0.2 off: MSE 0.04, PSNR = 10·log10(1 / 0.04) = 13.979 dB.
    black = torch.zeros(1, 3, 8, 8)
    assert psnr(black, black + 0.2).item() == pytest.approx(13.9794, abs=1e-4)


def test_psnr_is_a_mean_over_pictures_and_not_pooled() -> None:
    # 0.2 off is 13.979 dB, one level (1/255) off is 48.131 dB: the mean is 31.055, pooling would give 16.99.
    black = torch.zeros(2, 3, 8, 8)
    images = torch.stack([torch.full((3, 8, 8), 0.2), torch.full((3, 8, 8), 1 / 255)])
    assert psnr(black, images).mean().item() == pytest.approx(31.055, abs=1e-3)


def test_psnr_sees_the_rounded_and_clamped_picture() -> None:
    # 0.4/255 rounds away; −0.3 is clamped to the reference's 0.
    black = torch.zeros(1, 3, 8, 8)
    assert math.isinf(psnr(black, black + 0.4 / 255).item())
    assert math.isinf(psnr(black, black - 0.3).item())
    assert round_to_8_bits(torch.tensor([1.7, 0.5])).tolist() == pytest.approx([1.0, 128 / 255])


def test_ssim_of_constant_pictures() -> None:
    # Without variance SSIM is (2ab + C1) / (a² + b² + C1), C1 = 0.01²: a = 0, b = 0.2 gives 1e-4 / 0.0401.
    black = torch.zeros(1, 3, 32, 32)
    assert ssim(black, black + 0.2).item() == pytest.approx(1e-4 / 0.0401, rel=1e-3)
    assert ssim(black, black.expand(3, -1, -1, -1)).tolist() == pytest.approx([1.0] * 3)


@pytest.mark.parametrize("strength", [0.02, 0.3])
def test_ssim_is_that_of_scikit_image(photo: Image.Image, strength: float) -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    from skimage.metrics import structural_similarity

    noise = torch.randn(3, 256, 256, generator=torch.Generator().manual_seed(0))
    a = to_tensor([photo])
    b = round_to_8_bits(a + strength * noise)
    expected = structural_similarity(
        *((x[0] * 255).round().byte().permute(1, 2, 0).numpy() for x in (a, b)),
        channel_axis=-1,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(a, b).item() == pytest.approx(float(expected), abs=1e-5)


def test_a_prepared_reference_gives_the_same_ssim_to_the_last_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    reference, images = (torch.rand(count, 3, 24, 40, generator=generator) for count in (1, 3))
    prepared = ssim_reference(reference)
    assert torch.equal(ssim(prepared, images), ssim(reference, images))
    assert torch.equal(ssim(prepared, images[1:2]), ssim(reference, images)[1:2])


def test_ssim_refuses_what_is_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match="SSIM needs sides of at least 11 pixels, the pictures are 40x10"):
        ssim(torch.zeros(1, 3, 10, 40), torch.zeros(1, 3, 10, 40))


def test_targets_are_the_metrics_that_have_a_range() -> None:
    assert list(TARGET_METRICS) == ["psnr", "ssim", "lpips"]
    assert METRICS["psnr"].axis_label == "PSNR (dB)"
    assert METRICS["lpips"].direction == "lower is better"


def test_descriptors_need_no_torch() -> None:
    code = "import sys, onedpiece.metrics.descriptors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ms_ssim_is_one_for_equal_pictures_and_refuses_small_ones() -> None:
    random = torch.rand(2, 3, 176, 176, generator=torch.Generator().manual_seed(0))
    assert ms_ssim(random, random).tolist() == pytest.approx([1.0, 1.0])
    assert ms_ssim(random[:1], random[:1]).tolist() == pytest.approx([1.0])  # a batch of one is a batch
    assert ms_ssim(random, 1 - random).tolist() == [0.0, 0.0]  # structures opposed: cut at 0, not NaN
    with pytest.raises(ValueError, match="161 pixels, the pictures are 160x176"):
        ms_ssim(random[..., :160], random[..., :160])


def test_one_reference_serves_many_candidates() -> None:
    random = torch.Generator().manual_seed(0)
    reference, images = (torch.rand(n, 3, 64, 64, generator=random) for n in (1, 4))
    scorer = Scorer(["psnr", "ssim"])
    for name in ("psnr", "ssim"):
        alone = [scorer.score(name, reference, image[None])[0] for image in images]
        assert scorer.score(name, reference, images) == pytest.approx(alone, rel=1e-5)


def test_images_score_as_their_tensors_do(photo: Image.Image) -> None:
    other = photo.resize((64, 64)).resize(photo.size)
    expected = ssim(to_tensor([photo]), to_tensor([other])).tolist()
    assert image_scorer("ssim", photo)([other]) == pytest.approx(expected, abs=1e-6)


def test_a_metric_that_is_named_twice_counts_once() -> None:
    assert [each.name for each in Scorer(["ssim", "psnr", "ssim"]).metrics] == ["ssim", "psnr"]


def test_at_least_one_metric_is_left() -> None:
    assert available_scorer(["psnr", "psnr"]).missing == []
    with pytest.raises(ValueError, match="no metric was asked for"):
        available_scorer([])


def test_metric_names() -> None:
    assert metric("lpips-alex") is METRICS["lpips"]
    assert metric("psnr").better(20, than=19)
    assert metric("lpips").better(0.1, than=0.2)
    assert not any(metric(name).better(0.1, than=0.1) for name in ("psnr", "lpips"))
    with pytest.raises(ValueError, match="no metric 'vmaf'; there are: psnr, ssim"):
        metric("vmaf")
