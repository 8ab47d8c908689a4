"""Tiles through the codec: one budget, one target, prefixes, damage."""

from collections.abc import Callable
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from onedpiece.bitstream import Code, TooManyTokensError
from onedpiece.bitstream.tiles import order
from onedpiece.codec import Codec
from onedpiece.codec.model import EncodeResult
from onedpiece.codec.tensors import Photo, to_array, to_tensor
from onedpiece.codec.tiles import _better, _error, compose, decode_tiled, tile_budget, tokenize_tiles
from onedpiece.metrics.pixel import image_psnr
from onedpiece.rate import TargetOutOfReachError
from onedpiece.rate.allocation import allocate_equally
from onedpiece.rate.search import SearchResult
from onedpiece.rate.target import RateTarget


@pytest.fixture(scope="module")
def codec(codec_64: Codec) -> Codec:
    """256×256 pixels are 5×5 tiles of it."""
    return codec_64


@pytest.fixture(scope="module")
def whole(codec: Codec, data: object) -> tuple[Image.Image, Code]:
    photo = Image.open(f"{data}/rocket.png").convert("RGB")
    return photo, codec.encode(photo, tiles=True)


def test_tiles_are_better_than_one_square(codec: Codec, whole: tuple[Image.Image, Code]) -> None:
    photo, code = whole
    assert code.tiles is not None
    assert code.tiles.counts == (32,) * 25
    image = codec.decode(code.to_bytes())
    assert image.size == photo.size
    assert image_psnr(photo, image) > image_psnr(photo, codec.decode(codec.encode(photo))) + 2


def test_sharing_by_gain_beats_equal_shares(codec: Codec, whole: tuple[Image.Image, Code]) -> None:
    photo, _ = whole
    tokenized = tokenize_tiles(codec.model, photo)
    for total in (100, 300):
        shared = codec.encode(photo, tokens=total, tiles=True)
        equal = compose(codec.model, tokenized, allocate_equally(25, total))
        assert len(shared) == len(equal) == total
        assert image_psnr(photo, codec.decode(shared)) > image_psnr(photo, codec.decode(equal))


def test_every_prefix_is_a_whole_picture(codec: Codec, whole: tuple[Image.Image, Code]) -> None:
    photo, code = whole
    qualities = [image_psnr(photo, codec.decode(code, tokens)) for tokens in (3, 25, 100, 300, 800)]
    assert qualities == sorted(qualities)
    data = code.to_bytes()
    for end in (40, 217, 600):
        assert codec.decode(data[:end]).size == photo.size


@pytest.mark.slow
def test_budgets_hold(codec: Codec, whole: tuple[Image.Image, Code]) -> None:
    photo, _ = whole
    for budget in (80, 200, 777, 5000):
        size = len(codec.encode(photo, max_bytes=budget, tiles=True).to_bytes())
        assert size <= budget
        assert size >= min(budget, 1200) - 4
    # 0.05 bits of 65,536 pixels: 409 bytes
    assert 405 <= len(codec.encode(photo, bpp=0.05, tiles=True).to_bytes()) <= 409
    with pytest.raises(ValueError, match="one token for each of 25 tiles takes 5"):
        codec.encode(photo, max_bytes=30, tiles=True)
    with pytest.raises(ValueError, match="tokens is 24; 25 tiles take 25 to 800"):
        codec.encode(photo, tokens=24, tiles=True)


@pytest.mark.slow
def test_one_target_for_the_whole_photo(codec: Codec, whole: tuple[Image.Image, Code]) -> None:
    photo, code = whole
    best = image_psnr(photo, codec.decode(code))
    reached = codec.encode_to(photo, RateTarget(psnr=best - 1), tiles=True)
    assert reached.search
    assert image_psnr(photo, codec.decode(reached.code.to_bytes())) >= best - 1
    assert len(reached.code) < len(code)
    assert reached.code.faithful  # as it was measured
    # Budgets are 2 % apart: 5 % fewer tokens must fall short.
    fewer = codec.encode(photo, tokens=int(len(reached.code) * 0.95), tiles=True)
    assert image_psnr(photo, codec.decode(fewer)) < best - 1
    with pytest.raises(TargetOutOfReachError):
        codec.encode(photo, psnr=best + 1, tiles=True)


def test_damage_stays_in_its_tile(codec: Codec, whole: tuple[Image.Image, Code]) -> None:
    _, code = whole
    assert code.tiles is not None
    place = 400
    indices = code.indices.copy()
    indices[place] = 4095 - indices[place]
    harmed = np.asarray(codec.decode(Code(indices, 4096, code.fingerprint, code.size, code.tiles)))
    changed = np.argwhere((harmed != np.asarray(codec.decode(code))).any(2))
    row, column = divmod(int(order(code.tiles).tile[place]), 5)
    assert len(changed)
    for axis, at in ((0, row), (1, column)):
        assert changed[:, axis].min() >= 48 * at
        assert changed[:, axis].max() < 48 * at + 64


def test_a_photo_smaller_than_a_tile(codec: Codec, photo: Image.Image) -> None:
    small = photo.resize((40, 90))
    code = codec.encode(small, tiles=True)
    assert code.tiles is not None
    assert len(code.tiles.counts) == 2
    assert image_psnr(small, codec.decode(code)) > 15


def test_progress_counts_tiles(codec: Codec, whole: tuple[Image.Image, Code]) -> None:
    photo, code = whole
    seen: list[tuple[int, int]] = []
    codec.encode_to(photo, RateTarget(), tiles=True, progress=lambda *step: seen.append(step))
    assert seen == [(8, 25), (16, 25), (24, 25), (25, 25)]
    seen.clear()
    decode_tiled(codec.model, code, progress=lambda *step: seen.append(step))
    assert seen[-1] == (25, 25)
    seen.clear()  # a search over whole files tells of each that it tries, behind the tokens
    found = codec.encode_to(photo, RateTarget(psnr=20), tiles=True, progress=lambda *step: seen.append(step))
    assert found.search is not None
    assert seen.count((25, 25)) == 1 + found.search.measured


def test_models_without_a_forecast_share_too(small_codec: Callable[..., Codec], photo: Image.Image) -> None:
    plain = small_codec(quantizer="vq", vq_codebook_size=1024, vq_dim=4, linear_path=False)
    code = plain.encode(photo.resize((80, 50)), tiles=True, tokens=40)
    assert plain.decode(code.to_bytes()).size == (80, 50)


def test_tiles_are_for_what_a_square_cannot_do(codec: Codec, whole: tuple[Image.Image, Code]) -> None:
    photo, _ = whole
    square = codec.encode(photo)
    best = image_psnr(photo, codec.decode(square))
    assert square.tiles is None
    assert codec.encode(photo, psnr=best - 0.5).tiles is None
    assert codec.encode(photo, psnr=best + 1).tiles is not None
    assert codec.encode(photo, max_bytes=200).tiles is None
    # 25 tiles of 16 tokens of 1.5 bytes: 600 bytes are where tiles may be better
    assert codec.encode(photo, max_bytes=599).tiles is None
    larger = codec.encode(photo, max_bytes=1000)
    assert larger.tiles is not None
    assert image_psnr(photo, codec.decode(larger)) > best
    assert codec.encode(photo, max_bytes=1000, tiles=False) == square
    assert codec.encode(photo, tokens=32).tiles is None


@pytest.mark.parametrize("size", [(1100, 8), (2400, 48), (20_000, 3), (1040, 780)])
def test_a_size_alone_is_no_reason_for_tiles(codec: Codec, photo: Image.Image, size: tuple[int, int]) -> None:
    code = codec.encode(photo.resize(size))
    assert code.tiles is None
    assert len(code) == codec.num_tokens


def test_tiles_that_are_worse_are_not_taken(codec: Codec, photo: Image.Image) -> None:
    thin = photo.resize((400, 4))
    square = codec.encode(thin)
    code = codec.encode(thin, max_bytes=5000)
    assert image_psnr(thin, codec.decode(code)) >= image_psnr(thin, codec.decode(square))


def test_out_of_reach_of_both_is_said_of_the_better(codec: Codec, photo: Image.Image) -> None:
    small = photo.resize((100, 100))
    best = codec.encode(small, psnr=60, best_effort=True)
    with pytest.raises(TargetOutOfReachError) as caught:
        codec.encode(small, psnr=60)
    assert caught.value.score == image_psnr(small, codec.decode(best))
    assert caught.value.tokens == len(best)


def test_a_tile_with_more_tokens_than_the_model_makes(codec: Codec, whole: tuple[Image.Image, Code]) -> None:
    _, code = whole
    assert code.tiles is not None
    tiles = type(code.tiles)(64, 16, (33, *code.tiles.counts[1:]))
    with pytest.raises(TooManyTokensError, match="33 tokens in a tile; tiny makes at most 32"):
        codec.decode(Code(code.indices, 4096, code.fingerprint, code.size, tiles))


def test_expected_errors_are_those_measured_where_they_are_measured(codec: Codec, photo: Image.Image) -> None:
    """What allocation rests on follows the decoder, also one that the forecast of the linear path misses."""
    other = deepcopy(codec)
    with torch.no_grad():
        for parameter in other.tokenizer.decoder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    tile = photo.resize((64, 64))  # one tile, without overlap: its window is 1 everywhere
    tiled = tokenize_tiles(other.model, tile)
    pixels = to_tensor([tile])
    estimated = other.model.estimate_errors(pixels, tiled.indices)
    assert estimated is not None
    for count in (2, 6, 16, 32):  # 1/16, 1/5, 1/2 and all of 32 tokens
        decoded = other.tokenizer.detokenize(torch.tensor(tiled.indices[:, :count]))
        measured = float((decoded - pixels).square().mean())
        assert tiled.errors[0, count - 1] == pytest.approx(measured, rel=1e-3)
        assert estimated[0, count - 1] != pytest.approx(measured, rel=0.05), "the decoder is as forecast"


def test_tiles_are_no_choice_where_a_file_has_no_room_for_them() -> None:
    # 13,000 − 128 pixels in steps of 112: 116 tiles a side, 116²·256 = 3,444,736 tokens of at most 2^20.
    model: Any = SimpleNamespace(image_size=128, num_tokens=256, bits_per_token=12.0)
    assert tile_budget(model, (13_000, 13_000)) is None
    assert tile_budget(model, (128, 128)) is None  # one tile is a square
    assert tile_budget(model, (240, 128)) == 48  # two of 16 tokens of 12 bits


def test_a_tiles_error_counts_by_how_much_of_it_is_seen(
    codec: Codec, whole: tuple[Image.Image, Code]
) -> None:
    pixels = to_array([whole[0].resize((64, 64))])
    rows = codec.model.tokenize(pixels)
    full, half = (_error(codec.model, pixels, rows, np.full((1, 1, 64, 64), w, np.float32)) for w in (1, 0.5))
    assert full > 0
    assert half == pytest.approx(full / 2)


def test_of_two_that_fall_short_the_better_is_taken(codec: Codec, whole: tuple[Image.Image, Code]) -> None:
    photo, code = whole
    best, worst = (EncodeResult(code, SearchResult(5, score, False, 1)) for score in (20.0, 19.0))
    for one, other in ((best, worst), (worst, best)):
        assert _better(codec.model, Photo(photo), one, other, RateTarget(psnr=30)) is best


def test_tiles_that_a_prefix_does_not_reach_take_the_others_mean(
    codec: Codec, whole: tuple[Image.Image, Code]
) -> None:
    picture = np.asarray(codec.decode(whole[1][:1])).astype(float)  # of 25 tiles one has a token
    seen, blank = picture[:48, :48].mean((0, 1)), picture[-1, -1]
    assert np.ptp(picture[64:, 64:], axis=(0, 1)).max() == 0
    assert np.abs(blank - seen).max() < 20
    assert blank.min() > 0
