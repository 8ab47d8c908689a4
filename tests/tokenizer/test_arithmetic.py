"""Every way to compute gives the same tokens and, to a thousandth of a level, the same pictures."""

import os
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from onedpiece.codec import Codec
from onedpiece.codec.find import find_images
from onedpiece.tokenizer import Tokenizer, TokenizerConfig, pixel_heads, transformer
from onedpiece.tokenizer.transformer import dense
from onedpiece.weights import load, load_tokenizer

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "model"
LEVEL = 1 / 255
SMALL = TokenizerConfig(
    image_size=32,
    width=64,
    heads=2,
    encoder_layers=1,
    decoder_layers=1,
    num_tokens=8,
    fsq_grades=((8, (15, 15, 17)),),
    linear_size=16,
    sharp_blocks=1,
)


def pictures(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize("gelu", [False, True])
def test_dense_is_a_linear_layer_and_its_gelu(
    gelu: bool, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformer, "prefers_onednn", lambda: onednn)
    x, weight, bias = torch.randn(2, 5, 16), torch.randn(24, 16), torch.randn(24)
    expected = F.linear(x, weight, bias)
    expected = F.gelu(expected) if gelu else expected
    with torch.no_grad():
        torch.testing.assert_close(dense(x, weight, bias, gelu=gelu), expected, atol=1e-5, rtol=1e-5)
    trained = dense(x, weight.requires_grad_(), bias, gelu=gelu)
    trained.sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    torch.testing.assert_close(trained.detach(), expected, atol=0, rtol=0)


def test_half_precision_and_autocast_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer, "prefers_onednn", lambda: True)
    x, weight = torch.randn(3, 16), torch.randn(8, 16)
    with torch.no_grad():
        assert dense(x.bfloat16(), weight.bfloat16(), None).dtype == torch.bfloat16
        with torch.autocast("cpu", torch.bfloat16):
            assert dense(x, weight, None).dtype == torch.bfloat16


def test_settings_of_the_caller_are_left_alone() -> None:
    before = torch.get_float32_matmul_precision(), torch.get_num_threads(), torch.backends.mkldnn.flags
    tokenizer = Tokenizer(SMALL).eval()
    tokenizer.detokenize(tokenizer.tokenize(pictures()), sharpness=1.0)
    assert before == (
        torch.get_float32_matmul_precision(),
        torch.get_num_threads(),
        torch.backends.mkldnn.flags,
    )


@pytest.mark.slow
def test_both_paths_give_the_same_of_100_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = os.environ.get("ONEDPIECE_SHARED")
    if not shared:
        pytest.skip("ONEDPIECE_SHARED is not set")
    photos = find_images(Path(shared) / "data/eval/imagenet100").paths
    assert len(photos) == 100
    bundled = load()
    torch.manual_seed(0)
    drawn = Tokenizer(TokenizerConfig(width=128, heads=2, decoder_layers=2)).eval()
    assert drawn.encoder is not None
    torch.nn.init.normal_(drawn.encoder.conv_out.weight, std=0.05)  # else the encoder adds nothing
    codes_of_bundled = bundled.encode_batch(photos)
    for codec in (bundled, Codec(drawn, b"test")):
        with monkeypatch.context() as patched:
            patched.setattr(transformer, "prefers_onednn", lambda: True)
            codes = codec.encode_batch(photos)
            few = codec.decode_batch(codes[::10], sharpness=0.0, output_type="pt")
            patched.setattr(transformer, "prefers_onednn", lambda: False)
            assert codec.encode_batch(photos) == codes
            plain = codec.decode_batch(codes[::10], sharpness=0.0, output_type="pt")
        assert float((few - plain).abs().max()) < 1e-3 * LEVEL
    tiled = bundled.decode_batch(codes_of_bundled[::30], output_type="pt")
    monkeypatch.setattr(pixel_heads, "is_plain_inference", lambda x, weight: False)
    direct = bundled.decode_batch(codes_of_bundled[::30], output_type="pt")
    # Both are some 3e-3 of a level from what the sharp network's 350 convolutions are in float64.
    assert 0 < float((tiled - direct).abs().max()) < 1e-2 * LEVEL


@pytest.mark.parametrize(("dtype", "levels"), [(torch.bfloat16, 4.0), (torch.float16, 0.5)])
def test_networks_of_half_precision_leave_the_tokens_path_in_float32(
    dtype: torch.dtype, levels: float
) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(SMALL).eval()
    codec = Codec(tokenizer, b"test")
    tokens = tokenizer.tokenize(pictures())
    faithful, sharp = (tokenizer.detokenize(tokens, sharpness=look) for look in (0.0, 1.0))
    assert codec.to(dtype=dtype) is codec
    assert {each.dtype for each in tokenizer.parameters()} == {dtype}
    assert tokenizer.linear_path is not None
    assert tokenizer.linear_path.scale.dtype == torch.float32
    # conv_out is 0 in a fresh encoder, so that nothing rounds the tokens another way.
    assert torch.equal(tokenizer.tokenize(pictures()), tokens)
    for expected, look in ((faithful, 0.0), (sharp, 1.0)):
        found = tokenizer.detokenize(tokens, sharpness=look)
        assert found.dtype == torch.float32
        assert float((found - expected).abs().max()) < levels * LEVEL
    codec.to("cpu", torch.float32)
    assert {each.dtype for each in tokenizer.parameters()} == {torch.float32}


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dtype is torch.float64; use torch.float32, torch.bfloat16 or"):
        Codec(Tokenizer(SMALL), b"test").to(dtype=torch.float64)


@pytest.mark.slow
def test_compiled_networks_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled_with: list[dict[str, object]] = []
    really = torch.nn.Module.compile

    def compile_quickly(self: torch.nn.Module, **options: object) -> None:
        compiled_with.append(options)
        really(self, backend="aot_eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_quickly)
    plain, compiled = load(GOLDEN), load(GOLDEN, compile=True)
    assert compiled_with == [{"dynamic": False}] * len(compiled_with) != []
    size = plain.image_size
    photos = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    codes = compiled.encode_batch(photos)
    assert codes == plain.encode_batch(photos)
    pairs = (each.decode_batch(codes, output_type="pt") for each in (plain, compiled))
    torch.testing.assert_close(*pairs, atol=1e-3 * LEVEL, rtol=0)
    assert list(compiled.tokenizer.state_dict()) == list(load_tokenizer(GOLDEN).state_dict())
