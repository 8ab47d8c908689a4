from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onedpiece.bitstream import BadMagicError, Code, TooManyTokensError
from onedpiece.codec import Codec, WrongModelError
from onedpiece.codec.images import resize
from onedpiece.metrics.pixel import image_psnr

PRINT = bytes.fromhex("0badcafe")


@pytest.fixture(scope="module")
def codec(small_codec: Callable[..., Codec]) -> Codec:
    """A codec of 16 tokens on 32×32 pixels, with every path in use."""
    return small_codec(PRINT)


def to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.tensor(np.asarray(image)).permute(2, 0, 1) / 255


def test_a_photo_goes_through(codec: Codec, photo: Image.Image) -> None:
    code = codec.encode(photo, tokens=5)
    assert (len(code), code.codebook_size, code.fingerprint, code.size) == (5, 4096, PRINT, (256, 256))
    image = codec.decode(code)
    assert (image.size, image.mode) == ((256, 256), "RGB")
    assert image_psnr(image, photo) > 8  # an untrained linear path: a picture, if a poor one


def test_more_tokens_are_a_better_picture(codec: Codec, photo: Image.Image) -> None:
    code = codec.encode(photo)
    qualities = [image_psnr(codec.decode(code, tokens), photo) for tokens in (1, 4, 16)]
    assert qualities == sorted(qualities)


def test_all_tokens_are_kept_unless_asked(codec: Codec, photo: Image.Image) -> None:
    code = codec.encode(photo)
    assert len(code) == codec.num_tokens == 16
    for tokens in (1, 7, 16):
        assert codec.encode(photo, tokens=tokens) == code[:tokens]


def test_the_size_is_kept_only_where_it_differs(codec: Codec, photo: Image.Image) -> None:
    own = resize(photo, (32, 32))
    assert codec.encode(own).size is None
    assert codec.decode(codec.encode(own)).size == (32, 32)
    assert len(codec.encode(own, tokens=2).to_bytes()) == 7 + 3


def test_a_path_an_image_and_a_tensor_are_one(codec: Codec, photo: Image.Image, tmp_path: Path) -> None:
    own = resize(photo, (32, 32))
    own.save(tmp_path / "own.png")
    code = codec.encode(own)
    assert codec.encode(tmp_path / "own.png") == codec.encode(str(tmp_path / "own.png")) == code
    assert codec.encode(to_tensor(own)) == code
    assert codec.encode(to_tensor(own).double()) == code


def test_a_tensor_of_another_size_is_squeezed_too(codec: Codec, photo: Image.Image) -> None:
    wide = resize(photo, (90, 40))
    code = codec.encode(to_tensor(wide))
    assert code.size == (90, 40)
    theirs, ours = codec.decode(codec.encode(wide)), codec.decode(code)
    assert ours.size == (90, 40)
    assert image_psnr(theirs, ours) > 25  # two antialiasing resizers, all but one picture


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (31, 33)])
def test_any_size_comes_back(codec: Codec, photo: Image.Image, size: tuple[int, int]) -> None:
    assert codec.decode(codec.encode(photo.resize(size))).size == size


def test_decode_takes_codes_bytes_and_paths(codec: Codec, photo: Image.Image, tmp_path: Path) -> None:
    code = codec.encode(photo, tokens=9)
    data = code.to_bytes()
    (tmp_path / "a.odp").write_bytes(data)
    expected = codec.decode(code).tobytes()
    for source in (data, bytearray(data), tmp_path / "a.odp", str(tmp_path / "a.odp")):
        assert codec.decode(source).tobytes() == expected  # type: ignore[arg-type]
    assert codec.decode(data[:-4]).tobytes() == codec.decode(code[:6]).tobytes()  # 9 tokens: 14 bytes; 10: 6


def test_decoding_a_prefix_is_decoding_the_cut_code(codec: Codec, photo: Image.Image) -> None:
    code = codec.encode(photo)
    assert codec.decode(code, tokens=3).tobytes() == codec.decode(code[:3]).tobytes()


def test_eight_bits_are_the_nearest_levels(codec: Codec, photo: Image.Image) -> None:
    code = codec.encode(resize(photo, (32, 32)))
    exact = codec.tokenizer.detokenize(torch.tensor(code.indices)[None])[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(np.asarray(codec.decode(code)) - exact).max() <= 0.5


def test_batches_are_what_singles_are(codec: Codec, data: Path) -> None:
    paths = [data / f"{name}.png" for name in ("astronaut", "chelsea", "chelsea_451x300", "coffee")]
    singles = [codec.encode(path) for path in paths]
    batch = codec.encode_batch(paths)
    assert [code.size for code in batch] == [(256, 256), (256, 256), (451, 300), (256, 256)]
    same = np.array([a.indices == b.indices for a, b in zip(singles, batch, strict=True)])
    assert same.mean() > 0.95  # a value on the edge between two codes may fall either way
    mixed = [code[:k] for code, k in zip(batch, (1, 16, 5, 5), strict=True)]
    for image, code in zip(codec.decode_batch(mixed), mixed, strict=True):
        one_by_one = np.asarray(codec.decode(code)).astype(int)
        assert np.abs(np.asarray(image) - one_by_one).max() <= 1


def test_empty_batches_are_empty(codec: Codec) -> None:
    assert codec.encode_batch([]) == codec.decode_batch([]) == []


@pytest.mark.parametrize(
    ("max_bytes", "tokens"), [(13, 1), (14, 2), (15, 2), (16, 3), (34, 15), (35, 16), (999, 16)]
)
def test_max_bytes_is_the_longest_file_that_fits(
    codec: Codec, photo: Image.Image, max_bytes: int, tokens: int
) -> None:
    # 256×256 is not this model's size: 7 + 2 + 2 bytes of header, then 1.5 bytes a token, rounded up.
    code = codec.encode(photo, max_bytes=max_bytes)
    assert len(code) == tokens
    assert len(code.to_bytes()) <= max_bytes


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"tokens": 0}, "tokens is 0; tiny takes 1 to 16"),
        ({"tokens": 17}, "tokens is 17; tiny takes 1 to 16"),
        ({"tokens": -1}, "takes 1 to 16"),
        ({"max_bytes": 12}, "max_bytes is 12; the file of one token of this code takes 13"),
        ({"max_bytes": 0}, "max_bytes is 0"),
        ({"tokens": 3, "max_bytes": 30}, "not both"),
    ],
)
def test_budgets_out_of_range(codec: Codec, photo: Image.Image, budget: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codec.encode(photo, **budget)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(1, 3, 8, 8), r"shape \(1, 3, 8, 8\); expected \(3, H, W\)"),
        (torch.zeros(8, 8, 3), "expected"),
        (torch.zeros(3, 0, 8), "expected"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "uint8; expected floats .* divide"),
        (torch.full((3, 8, 8), 1.5), "from 1.5 to 1.5"),
        (torch.full((3, 8, 8), -0.1), "from -0.1 to -0.1"),
        (torch.full((3, 8, 8), float("nan")), "from nan to nan"),
    ],
)
def test_tensors_that_are_no_pictures(codec: Codec, tensor: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codec.encode(tensor)


def test_what_is_no_picture_at_all(codec: Codec) -> None:
    with pytest.raises(TypeError, match="found ndarray; expected a PIL image"):
        codec.encode(np.zeros((8, 8, 3)))  # type: ignore[arg-type]


def test_another_models_code_is_refused_with_both_names(codec: Codec) -> None:
    with pytest.raises(WrongModelError, match=r"made by model 61626364, this is 0badcafe \(tiny\)"):
        codec.decode(Code(np.array([1]), 4096, b"abcd"))
    with pytest.raises(WrongModelError, match="1000 codebook entries, tiny has 4096"):
        codec.decode(Code(np.array([1]), 1000, PRINT))
    with pytest.raises(TooManyTokensError, match="17 tokens; tiny makes at most 16"):
        codec.decode(Code(np.arange(17), 4096, PRINT))


def test_another_models_entropy_coded_file_is_that_models(codec: Codec, data: Path) -> None:
    with pytest.raises(WrongModelError, match=r"made by model [0-9a-f]{8}, this is 0badcafe \(tiny\)"):
        codec.decode(data / "golden" / "entropy.odp")


@pytest.mark.parametrize("device", ["abacus", "cuda:77"])
def test_a_device_that_is_not_there_is_named(codec: Codec, device: str) -> None:
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used: ") as caught:
        Codec(codec.tokenizer, PRINT, device=device)
    assert "\n" not in str(caught.value)


def test_decoding_errors(codec: Codec, tmp_path: Path) -> None:
    with pytest.raises(BadMagicError):
        codec.decode(b"hello")
    with pytest.raises(FileNotFoundError):
        codec.decode(tmp_path / "none.odp")
    for tokens in (0, 3, -1):
        with pytest.raises(ValueError, match=f"tokens is {tokens}; this code has 1 to 2"):
            codec.decode(Code(np.array([1, 2]), 4096, PRINT), tokens)
