from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onedpiece.bitstream import BadMagicError, Code, TooManyTokensError
from onedpiece.codec import Codec, WrongModelError
from onedpiece.codec.tensors import resize
from onedpiece.metrics.pixel import image_psnr
from onedpiece.rate import RateTarget

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


def test_one_path_is_no_batch(codec: Codec, data: Path) -> None:
    for path in (data / "chelsea.png", str(data / "chelsea.png")):
        with pytest.raises(TypeError, match=r"found one path, .*chelsea\.png'; expected a list of pictures"):
            codec.encode_batch(path)  # type: ignore[arg-type]


def test_one_code_is_no_batch(codec: Codec, data: Path) -> None:
    code = codec.encode(data / "chelsea.png", tokens=2)
    for one in ("a.odp", data / "a.odp", code.to_bytes(), code):
        with pytest.raises(TypeError, match=f"found one {type(one).__name__}; expected a list of codes"):
            codec.decode_batch(one)  # type: ignore[arg-type]


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
        (torch.zeros(3, 8, 8, dtype=torch.int64), "int64; expected floats .* or uint8"),
        (torch.full((3, 8, 8), 1.5), "from 1.5 to 1.5"),
        (torch.full((3, 8, 8), -0.1), "from -0.1 to -0.1"),
        (torch.full((3, 8, 8), float("nan")), "from nan to nan"),
    ],
)
def test_tensors_that_are_no_pictures(codec: Codec, tensor: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codec.encode(tensor)


def test_what_is_no_picture_at_all(codec: Codec) -> None:
    with pytest.raises(TypeError, match="found list; expected a PIL image"):
        codec.encode([1, 2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"the array has shape \(3, 8, 8\); expected \(H, W, 3\)"):
        codec.encode(np.zeros((3, 8, 8)))
    with pytest.raises(ValueError, match=r"the batch has shape \(3, 8, 8\)"):
        codec.encode_batch(torch.zeros(3, 8, 8))


def test_arrays_bytes_and_batches_are_pictures(codec: Codec, photo: Image.Image) -> None:
    own = resize(photo, (32, 32))
    code, levels = codec.encode(own), np.asarray(own)
    assert codec.encode(levels) == codec.encode(levels / 255) == code
    assert codec.encode(torch.tensor(levels).permute(2, 0, 1)) == code
    stack = torch.stack([to_tensor(own), to_tensor(own).flip(2)])
    flipped = own.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for batch in (stack, stack.permute(0, 2, 3, 1).numpy(), [own, flipped]):
        assert codec.encode_batch(batch)[0] == code
        assert len(codec.encode_batch(batch)) == 2


def test_a_hair_outside_the_range_is_clipped(codec: Codec, photo: Image.Image) -> None:
    own = to_tensor(resize(photo, (32, 32)))
    assert codec.encode(own.clamp(0, 1) * 1.0005) is not None
    with pytest.raises(ValueError, match=r"run from .* to 1\.00"):
        codec.encode(torch.full((3, 8, 8), 1.002))


def test_a_batch_goes_on_after_a_picture_that_cannot_be_read(codec: Codec, photo: Image.Image) -> None:
    good, bad, small = codec.encode_batch_to(
        [photo, "nowhere.png", photo], RateTarget(tokens=3), return_exceptions=True
    )
    assert isinstance(bad, FileNotFoundError)
    assert not isinstance(good, Exception)
    assert not isinstance(small, Exception)
    assert good.code == small.code == codec.encode(photo, tokens=3)
    for encode in (codec.encode_batch, codec.encode_batch_to):
        with pytest.raises(FileNotFoundError):
            encode([photo, "nowhere.png"])


def test_a_target_for_each_of_a_batch(codec: Codec, photo: Image.Image) -> None:
    small, large = resize(photo, (32, 32)), resize(photo, (64, 48))
    results = codec.encode_batch_to([small, large], RateTarget(psnr=12.0))
    for image, result in zip((small, large), results, strict=True):
        assert result.search
        assert result.search.reached
        assert image_psnr(image, codec.decode(result.code)) >= 12


def test_pictures_come_as_tensors(codec: Codec, photo: Image.Image) -> None:
    codes = [codec.encode(photo, tokens=k) for k in (3, 9)]
    tensors = codec.decode_batch(codes, output_type="pt")
    assert tensors.shape == (2, 3, 256, 256)
    assert 0 <= float(tensors.min()) <= float(tensors.max()) <= 1
    for tensor, image in zip(tensors, codec.decode_batch(codes), strict=True):
        assert (tensor * 255 - torch.tensor(np.asarray(image)).permute(2, 0, 1)).abs().max() < 3
    with pytest.raises(ValueError, match="sizes 32x32, 256x256"):
        codec.decode_batch([codes[0], codec.encode(resize(photo, (32, 32)))], output_type="pt")
    assert codec.decode_batch([], output_type="pt").shape == (0, 3, 32, 32)


def test_several_codes_are_for_decode_batch(codec: Codec) -> None:
    with pytest.raises(TypeError, match="found list; expected a Code, bytes or a path; decode_batch"):
        codec.decode([])  # type: ignore[arg-type]


def test_to_moves_and_returns_the_codec(codec: Codec) -> None:
    assert codec.to("cpu") is codec
    assert codec.device == torch.device("cpu")


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


@pytest.mark.parametrize("device", ["abacus", "cuda:77", "meta"])
def test_a_device_that_is_not_there_is_named(codec: Codec, device: str) -> None:
    before = codec.device
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used: ") as caught:
        codec.to(device, torch.float64)
    assert "\n" not in str(caught.value)
    assert codec.device == before
    assert {each.dtype for each in codec.tokenizer.parameters()} == {torch.float32}
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used: "):
        Codec(codec.tokenizer, PRINT, device=device)


def test_decoding_errors(codec: Codec, tmp_path: Path) -> None:
    with pytest.raises(BadMagicError):
        codec.decode(b"hello")
    with pytest.raises(FileNotFoundError):
        codec.decode(tmp_path / "none.odp")
    for tokens in (0, 3, -1):
        with pytest.raises(ValueError, match=f"tokens is {tokens}; this code has 1 to 2"):
            codec.decode(Code(np.array([1, 2]), 4096, PRINT), tokens)


@pytest.mark.parametrize("fingerprint", ["0a9efe93", "129ade3c", "434c6612", "c2999fe5"])
@pytest.mark.parametrize("third", [0x10, 0x14])
def test_files_of_retired_models_name_the_release_that_reads_them(
    codec: Codec, fingerprint: str, third: int
) -> None:
    old = bytes.fromhex("d11d") + bytes([third]) + bytes.fromhex(fingerprint) + bytes(30)
    with pytest.raises(
        WrongModelError, match=r"the model of onedpiece 0\.1\.0, .* decode it with onedpiece 0\.1"
    ):
        codec.decode(old)


def test_a_retired_model_still_reads_its_own_files(
    small_codec: Callable[..., Codec], photo: Image.Image
) -> None:
    """Who has kept the weights names them by folder."""
    old = small_codec(bytes.fromhex("0a9efe93"))
    assert old.decode(old.encode(photo).to_bytes()).size == photo.size


def test_a_photo_that_kept_its_square_only_has_the_same_tokens(codec: Codec, data: Path) -> None:
    from onedpiece.codec.tensors import Photo, to_tensor

    image = Image.open(data / "chelsea_451x300.png").convert("RGB")
    for picture in (image, to_tensor([image])[0]):
        photo = Photo(picture)
        photo.keep_square(codec.image_size)
        assert photo.size == image.size
        assert codec.encode(photo, tokens=9) == codec.encode(picture, tokens=9)
