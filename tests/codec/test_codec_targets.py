"""Targets through the codec, beside decoding every prefix."""

import pytest
import torch
from PIL import Image

from onedpiece.codec import Codec
from onedpiece.metrics.registry import image_scorer
from onedpiece.rate import RateTarget, TargetOutOfReachError


@pytest.fixture(scope="module")
def codec(codec_64: Codec) -> Codec:
    return codec_64


@pytest.mark.parametrize("size", [(64, 64), (90, 70)])
def test_the_fewest_tokens_that_reach_it(codec: Codec, photo: Image.Image, size: tuple[int, int]) -> None:
    small = photo.resize(size)
    code = codec.encode(small)
    scores = image_scorer("psnr", small)([codec.decode(code, tokens) for tokens in range(1, 33)])
    for share in (0.0, 0.2, 0.5, 0.8, 0.97):
        value = min(scores) + share * (max(scores) - min(scores))
        fewest = next(place + 1 for place, score in enumerate(scores) if score >= value)
        found = codec.encode(small, psnr=value)
        assert len(found) == fewest
        assert image_scorer("psnr", small)([codec.decode(found.to_bytes())])[0] >= value


def test_an_ssim_that_ripples_more_than_expected_is_still_reached(codec: Codec, photo: Image.Image) -> None:
    small = photo.resize((90, 70))
    code = codec.encode(small)
    score = image_scorer("ssim", small)
    scores = score([codec.decode(code, tokens) for tokens in range(1, 33)])
    for share in (0.2, 0.5, 0.8):
        value = min(scores) + share * (max(scores) - min(scores))
        last_short = max(place + 1 for place, score in enumerate(scores) if score < value)
        found = codec.encode(small, ssim=value, best_effort=True)
        assert score([codec.decode(found)])[0] >= value
        assert len(found) <= last_short + 1


def test_lpips_is_reached_from_above(codec: Codec, photo: Image.Image, torch_home: object) -> None:
    small = photo.resize((64, 64))
    code = codec.encode(small)
    scores = image_scorer("lpips", small)([codec.decode(code, tokens) for tokens in range(1, 33)])
    assert image_scorer("lpips", small)([small]) == [0.0]
    value = (min(scores) + max(scores)) / 2
    assert len(codec.encode(small, lpips=value)) == next(k + 1 for k, s in enumerate(scores) if s <= value)


def test_a_target_out_of_reach(codec: Codec, photo: Image.Image) -> None:
    with pytest.raises(TargetOutOfReachError, match=r"PSNR 60 dB is out of reach: the best is 1") as caught:
        codec.encode(photo, psnr=60, tiles=False)
    code = codec.encode(photo, psnr=60, tiles=False, best_effort=True)
    assert len(code) == caught.value.tokens
    assert image_scorer("psnr", photo)([codec.decode(code)])[0] == caught.value.score


def test_tensors_have_targets_too(codec: Codec, photo: Image.Image) -> None:
    small = photo.resize((64, 64))
    tensor = torch.tensor(list(small.tobytes())).view(64, 64, 3).permute(2, 0, 1) / 255
    assert codec.encode(tensor, psnr=15) == codec.encode(small, psnr=15)


def test_bits_a_pixel_are_a_budget(codec: Codec, photo: Image.Image) -> None:
    # 256×256 at 0.004 bits: 32 bytes, 11 of them header: 21 bytes hold 14 tokens of 12 bits
    assert len(codec.encode(photo, bpp=0.004)) == 14


@pytest.mark.parametrize(("metric", "side"), [("ssim", 11), ("lpips", 32)])
def test_a_photo_too_small_for_a_metric_is_said(metric: str, side: int) -> None:
    with pytest.raises(
        ValueError, match=f"{metric} needs sides of at least {side} pixels, the photo is 5x40"
    ):
        image_scorer(metric, Image.new("RGB", (5, 40)))


def test_a_photo_too_large_for_feature_maps_is_said() -> None:
    with pytest.raises(ValueError, match="up to 16000000 pixels, this is 4001x4000; aim at psnr"):
        image_scorer("ssim", Image.new("RGB", (4001, 4000)))


def test_a_search_decodes_a_handful(codec: Codec, photo: Image.Image) -> None:
    small = photo.resize((64, 64))
    found = codec.encode_to(small, RateTarget(psnr=16)).search
    assert found
    assert found.measured <= 5
