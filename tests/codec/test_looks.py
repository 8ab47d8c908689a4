"""The two looks of a file: what it asks for, what the user asks for, and what a target is measured on."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.codec.tensors import resize
from onedpiece.metrics.pixel import image_psnr
from onedpiece.metrics.registry import image_scorer
from onedpiece.rate.target import RateTarget


@pytest.fixture(scope="module")
def codec(small_codec: Callable[..., Codec]) -> Codec:
    """A codec whose sharp network, as drawn, changes all pictures that are not flat, for the worse."""
    return small_codec(sharp_blocks=1)


@pytest.fixture(scope="module")
def whole(codec: Codec, data: object) -> tuple[Image.Image, Code]:
    own = resize(Image.open(f"{data}/astronaut.png").convert("RGB"), (32, 32))
    return own, codec.encode(own)


def levels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_a_plain_file_is_sharp_and_a_faithful_one_is_not(codec: Codec, whole: tuple[object, Code]) -> None:
    code = whole[1]
    sharp, plain = codec.decode(code, sharpness=1.0), codec.decode(code, sharpness=0.0)
    assert not code.faithful
    assert np.abs(levels(sharp) - levels(plain)).max() > 3
    assert codec.decode(code).tobytes() == sharp.tobytes()
    asks = replace(code, faithful=True)
    assert codec.decode(asks).tobytes() == codec.decode(asks.to_bytes()).tobytes() == plain.tobytes()
    assert codec.decode(asks, sharpness=1.0).tobytes() == sharp.tobytes()
    assert codec.decode(asks, tokens=3).tobytes() == codec.decode(code, tokens=3, sharpness=0.0).tobytes()


def test_the_default_look_is_the_models(
    codec: Codec, small_codec: Callable[..., Codec], whole: tuple[object, Code]
) -> None:
    code = whole[1]
    half = small_codec(sharp_blocks=1, default_sharpness=0.5)
    assert half.decode(code).tobytes() == codec.decode(code, sharpness=0.5).tobytes()
    assert half.decode(replace(code, faithful=True)).tobytes() == codec.decode(code, sharpness=0.0).tobytes()


def test_looks_may_be_mixed_in_a_batch(codec: Codec, whole: tuple[object, Code]) -> None:
    code = whole[1]
    codes = [code, replace(code, faithful=True), code[:4], replace(code[:4], faithful=True)]
    for sharpness in (None, 0.0, 1.0):
        batch = codec.decode_batch(codes, sharpness=sharpness)
        for each, image in zip(codes, batch, strict=True):
            assert np.abs(levels(codec.decode(each, sharpness=sharpness)) - levels(image)).max() <= 1


@pytest.mark.parametrize("sharpness", [-0.01, 1.01, float("nan")])
def test_a_sharpness_out_of_range_is_said(codec: Codec, whole: tuple[object, Code], sharpness: float) -> None:
    with pytest.raises(ValueError, match=f"sharpness is {sharpness}; use 0 .* to 1"):
        codec.decode(whole[1], sharpness=sharpness)


def test_a_model_without_a_sharp_network(
    small_codec: Callable[..., Codec], whole: tuple[object, Code]
) -> None:
    plain, code = small_codec(), whole[1]
    assert plain.decode(code).tobytes() == plain.decode(code, sharpness=0.0).tobytes()
    with pytest.raises(ValueError, match=r"sharpness is 0\.5, but tiny has no sharp network; use 0"):
        plain.decode(code, sharpness=0.5)


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.usefixtures("random_lpips")
def test_what_was_reached_without_a_sharp_network_is_shown_without(
    small_codec: Callable[..., Codec], whole: tuple[Image.Image, Code], tiles: bool
) -> None:
    target = RateTarget(lpips=0.9)
    assert small_codec().encode_to(whole[0], target, tiles=tiles, best_effort=True).code.faithful


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize(
    ("target", "faithful"),
    [
        (RateTarget(), False),
        (RateTarget(tokens=6), False),
        (RateTarget(max_bytes=40), False),
        (RateTarget(bpp=1.0), False),
        (RateTarget(psnr=10), True),
        (RateTarget(ssim=0.1), True),
        (RateTarget(lpips=0.9), False),
    ],
)
@pytest.mark.usefixtures("random_lpips")
def test_what_is_measured_pixel_by_pixel_is_shown_faithfully(
    codec: Codec, whole: tuple[Image.Image, Code], target: RateTarget, faithful: bool, tiles: bool
) -> None:
    code = codec.encode_to(whole[0], target, tiles=tiles, best_effort=True).code
    assert (code.tiles is not None) == tiles
    assert code.faithful == Code.from_bytes(code.to_bytes()).faithful == faithful


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize("metric", ["psnr", "ssim"])
def test_a_target_is_met_by_what_is_decoded_by_default(
    codec: Codec, photo: Image.Image, metric: str, tiles: bool
) -> None:
    small = photo.resize((50, 40))
    best = codec.encode_to(
        small, RateTarget(**{metric: 60 if metric == "psnr" else 1}), tiles=tiles, best_effort=True
    )
    assert best.search
    value = 0.97 * best.search.score
    data = codec.encode(small, tiles=tiles, **{metric: value}).to_bytes()  # type: ignore[arg-type]
    score = image_scorer(metric, small)
    assert score([codec.decode(data)])[0] >= value
    assert score([codec.decode(data, sharpness=1.0)])[0] < value  # so that the default matters


def test_the_estimate_of_a_psnr_is_of_the_faithful_picture(
    codec: Codec, whole: tuple[Image.Image, Code]
) -> None:
    photo, code = whole
    curve = codec.estimate_psnr_curve(photo, code)
    assert curve is not None
    assert curve[-1] == pytest.approx(image_psnr(photo, codec.decode(code, sharpness=0.0)), abs=0.5)


def test_tiles_take_a_look_too(codec: Codec, photo: Image.Image) -> None:
    code = codec.encode(photo.resize((60, 60)), tiles=True)
    sharp, plain = (codec.decode(code, sharpness=sharpness) for sharpness in (1.0, 0.0))
    assert np.abs(levels(sharp) - levels(plain)).max() > 3
    assert codec.decode(code).tobytes() == sharp.tobytes()
    assert codec.decode(replace(code, faithful=True)).tobytes() == plain.tobytes()


def test_a_flat_picture_has_one_look(small_codec: Callable[..., Codec]) -> None:
    grades = ((15, (63, 65)), (1, (15, 15, 17)))  # odd, so that 0 is a level
    flat = small_codec(sharp_blocks=1, fsq_grades=grades)
    for colour in [(0, 0, 0), (128, 128, 128), (0, 255, 0), (255, 0, 255)]:
        picture = Image.new("RGB", (32, 32), colour)
        code = flat.encode(picture)
        for sharpness in (0.0, 1.0):
            assert np.abs(levels(flat.decode(code, sharpness=sharpness)) - levels(picture)).max() <= 1


def test_tensors_have_looks(codec: Codec, whole: tuple[object, Code]) -> None:
    code = whole[1]
    sharp, plain = (codec.decode_batch([code], sharpness=s, output_type="pt") for s in (1.0, 0.0))
    assert (sharp - plain).abs().max() > 0.01
    assert torch.equal(codec.decode_batch([replace(code, faithful=True)], output_type="pt"), plain)
