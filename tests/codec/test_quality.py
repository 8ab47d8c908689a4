"""What a prefix is expected to score, beside what it does."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.codec import quality as quality_module
from onedpiece.codec.quality import (
    estimate_psnr_curve,
    estimate_ssim_curve,
    reach_square,
    scorer_beside,
    wants_faithful,
)
from onedpiece.codec.tensors import Photo, resize
from onedpiece.metrics.pixel import ImageScorer, image_psnr
from onedpiece.rate.target import QualityTarget


@pytest.fixture(scope="module")
def codec(small_codec: Callable[..., Codec]) -> Codec:
    return small_codec()


def foretold(codec: Codec, photo: Image.Image, score: ImageScorer) -> tuple[Code, np.ndarray]:
    code, taken = codec.encode(photo), Photo(photo)
    decibels = estimate_psnr_curve(codec.model, taken, code)
    assert decibels is not None
    expected = estimate_ssim_curve(codec.model, taken, code, decibels, score)
    assert expected is not None
    assert len(expected) == len(decibels) == len(code)
    return code, np.array(expected)


@pytest.mark.parametrize("size", [(32, 32), (60, 44), (150, 100)])  # the last is scored as a square
def test_the_expected_ssim_is_near_the_true_one(
    codec: Codec, photo: Image.Image, size: tuple[int, int]
) -> None:
    small = resize(photo, size)
    score = scorer_beside("ssim", small)
    code, expected = foretold(codec, small, score)
    true = score([codec.decode(code, tokens, sharpness=0.0) for tokens in range(1, len(code) + 1)])
    # Its level and its rise; the network of this codec is untrained and draws what the linear path does.
    assert np.abs(expected - true).max() < 0.1
    if np.ptp(true) > 0.1:  # the last photo is too large for 16 tokens to say anything about its detail
        assert np.corrcoef(expected, true)[0, 1] > 0.95


def test_a_large_photo_is_scored_twice_at_its_own_size(codec: Codec, photo: Image.Image) -> None:
    large, sizes = resize(photo, (150, 100)), []
    score = scorer_beside("ssim", large)

    def noted(pictures: object) -> list[float]:
        assert isinstance(pictures, list)
        sizes.extend(picture.size for picture in pictures)
        return score(pictures)

    foretold(codec, large, noted)
    assert sizes == [(150, 100)] * 2
    sizes.clear()
    score = scorer_beside("ssim", resize(photo, (32, 32)))
    foretold(codec, resize(photo, (32, 32)), noted)
    assert len(sizes) == len(quality_module.SSIM_SHARES)


def test_a_model_without_linear_pictures_is_searched_all_the_same(
    codec: Codec, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = resize(photo, (32, 32))
    code, score = codec.encode(small), scorer_beside("ssim", small)
    value = 0.98 * score([codec.decode(code, sharpness=0.0)])[0]
    usual = reach_square(codec.model, Photo(small), code, QualityTarget("ssim", value))
    monkeypatch.setattr(type(codec.model), "linear_pictures", lambda *_: None)
    other = reach_square(codec.model, Photo(small), code, QualityTarget("ssim", value))
    for found in (usual, other):
        assert found.code.faithful
        assert score([codec.decode(found.code)])[0] >= value
        assert found.search
        assert found.search.reached
    assert len(other.code) <= len(usual.code) <= len(other.code) + 2


def test_a_file_asks_for_the_look_that_was_measured(
    codec: Codec, small_codec: Callable[..., Codec], photo: Image.Image
) -> None:
    sharp = small_codec(sharp_blocks=1).model
    asked = {metric: QualityTarget(metric, 0.5) for metric in ("psnr", "ssim", "lpips")}
    assert [wants_faithful(sharp, target) for target in asked.values()] == [True, True, False]
    assert all(wants_faithful(codec.model, target) for target in asked.values())  # it has no other


def test_what_resizing_loses_comes_on_top(codec: Codec, photo: Image.Image) -> None:
    square = resize(photo, (32, 32))
    code = codec.encode(square)
    own = estimate_psnr_curve(codec.model, Photo(square), code)
    large = estimate_psnr_curve(codec.model, Photo(photo), code)  # which becomes the same square
    assert own is not None
    assert large is not None
    errors = [10 ** (-np.array(curve) / 10) for curve in (own, large)]
    assert errors[1] - errors[0] == pytest.approx(10 ** (-image_psnr(photo, square) / 10))


def test_pictures_that_are_all_alike_have_one_score(codec: Codec) -> None:
    large, grey = Image.new("RGB", (150, 100), "grey"), Image.new("RGB", (32, 32), "grey")
    alike = quality_module._score_small(large, [grey] * 3, 32, scorer_beside("ssim", large))
    assert alike == pytest.approx([1.0] * 3)
