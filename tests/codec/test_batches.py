"""Batches in and out as torch and diffusers have them: tensors, arrays, lists, and token batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import onedpiece
from onedpiece.codec import Codec
from onedpiece.codec.tensors import resize_array, to_array
from onedpiece.errors import OnedpieceError
from onedpiece.rate.target import RateTarget


@pytest.fixture(scope="module")
def images(data: Path) -> list[Image.Image]:
    return [Image.open(data / f"{name}.png").convert("RGB") for name in ("astronaut", "chelsea")]


def test_every_kind_of_batch_is_the_same(codec: Codec, images: list[Image.Image], data: Path) -> None:
    expected = codec.encode_batch(images)
    levels = np.stack([np.asarray(image) for image in images])  # (B, H, W, 3) uint8
    tensor = torch.from_numpy(levels).permute(0, 3, 1, 2)
    for batch in (
        tensor,
        tensor.float() / 255,
        (tensor.double() / 255),
        levels,
        levels / 255,
        list(levels),
        list(tensor),
        [data / "astronaut.png", str(data / "chelsea.png")],
        [images[0], levels[1]],
    ):
        assert codec.encode_batch(batch) == expected


@pytest.mark.parametrize(
    "rate", [{"tokens": 5}, {"max_bytes": 20}, {"bpp": 0.003}, {"psnr": 11.0}, {"ssim": 0.2}]
)
def test_every_target_is_one_for_batches(
    codec: Codec, images: list[Image.Image], rate: dict[str, Any]
) -> None:
    expected = [codec.encode(image, **rate) for image in images]
    assert codec.encode_batch(images, **rate) == expected
    assert codec.encode_batch(images, RateTarget(**rate)) == expected
    with pytest.raises(ValueError, match=f"give a target or {next(iter(rate))}, not both"):
        codec.encode_batch(images, RateTarget(tokens=3), **rate)


def test_pictures_come_as_they_are_wanted(codec: Codec, images: list[Image.Image]) -> None:
    codes = codec.encode_batch(images)
    pictures = codec.decode_batch(codes)
    tensor = codec.decode_batch(codes, output_type="pt")
    array = codec.decode_batch(codes, output_type="np")
    assert (tensor.shape, tensor.dtype) == ((2, 3, 256, 256), torch.float32)
    assert (array.shape, array.dtype) == ((2, 256, 256, 3), np.float32)
    assert np.array_equal(array, tensor.permute(0, 2, 3, 1).numpy())
    shown = np.stack([np.asarray(picture) for picture in pictures])
    assert np.array_equal(np.rint(array * 255).astype(np.uint8), shown)
    with pytest.raises(ValueError, match="output_type is 'jax'; use 'pil', 'pt' or 'np'"):
        codec.decode_batch(codes, output_type="jax")  # type: ignore[call-overload]


def test_other_sizes_and_none_at_all(codec: Codec, images: list[Image.Image]) -> None:
    small = [image.resize((60, 40)) for image in images]
    codes = codec.encode_batch(small)
    assert codec.decode_batch(codes, output_type="np").shape == (2, 40, 60, 3)
    assert codec.decode_batch([], output_type="np").shape == (0, 256, 256, 3)
    for kind in ("pt", "np"):
        with pytest.raises(ValueError, match="the photos are of sizes 60x40, 256x256; decode one size"):
            codec.decode_batch([codes[0], codec.encode(images[0])], output_type=kind)  # type: ignore[call-overload]


def test_tokens_are_rows_and_a_mask(codec: Codec, images: list[Image.Image]) -> None:
    tokens, mask = codec.tokens(images)
    assert torch.equal(tokens, codec.tokenizer.tokenize(torch.from_numpy(to_array(images))))
    assert bool(mask.all())
    codes = codec.encode_batch(images, psnr=14.5, best_effort=True)
    assert len(codes[0]) != len(codes[1])
    batch = codec.tokens(images, psnr=14.5, best_effort=True, pad_to=20)
    assert batch.tokens.shape == batch.mask.shape == (2, 20)
    for code, row, known in zip(codes, batch.tokens, batch.mask, strict=True):
        assert row[known].tolist() == list(code)
        assert not row[~known].any()
    assert codec.tokens(images, tokens=3).tokens.shape == (2, 3)
    with pytest.raises(ValueError, match="pad_to is 2; the longest of these codes has 3 tokens"):
        codec.tokens(images, tokens=3, pad_to=2)


def test_a_code_is_a_tensor_too(codec: Codec, images: list[Image.Image]) -> None:
    code = codec.encode(images[0])
    assert code.tokens.dtype == torch.int64
    assert code.tokens.tolist() == list(code) == code.indices.tolist()
    code.tokens.zero_()  # of its own
    assert code.tokens.any()


def test_without_torch_a_code_says_so(
    codec: Codec, images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = codec.encode(images[0])

    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(onedpiece, "import_module", missing)
    with pytest.raises(OnedpieceError, match=r"pip install torch, or take code\.indices"):
        _ = code.tokens


@pytest.mark.parametrize("size", [(32, 20), (100, 7), (256, 256)])
def test_arrays_are_resized_as_torch_does(size: tuple[int, int]) -> None:
    """Pillow's bicubic filter, which torch's antialiased one follows, in float and clipped."""
    picture = np.random.default_rng(0).random((3, 64, 48), np.float32)
    found = resize_array(picture, size)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(picture)[None], size[::-1], mode="bicubic", align_corners=False, antialias=True
    )[0].clamp(0, 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-6)


def test_half_precision_pictures(codec: Codec, images: list[Image.Image]) -> None:
    tensor = torch.from_numpy(to_array(images))
    for dtype in (torch.bfloat16, torch.float16):
        expected = codec.encode_batch(tensor.to(dtype).float())
        assert codec.encode_batch(tensor.to(dtype)) == expected
