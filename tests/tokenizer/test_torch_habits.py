"""What people do with any nn.Module works with a tokenizer: gradients, copies, types, layouts, exporters."""

import pickle
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch.export import Dim

from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.weights.export import Decoder, Encoder, Forecast, Sharp

Stir = Callable[..., Tokenizer]
VQ: dict[str, Any] = {"quantizer": "vq", "linear_path": False, "vq_dim": 5}
REFINED: dict[str, Any] = {"fsq_grades": ((8, (63, 65)), (7, (15, 15, 17)), (1, (15, 15, 17)))}
KINDS = pytest.mark.parametrize("changes", [{}, VQ, REFINED, REFINED | {"encoder_layers": 0}], ids=str)


def pictures(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@KINDS
def test_forward_is_differentiable_straight_through(stirred_tokenizer: Stir, changes: dict[str, Any]) -> None:
    tokenizer = stirred_tokenizer(**changes)
    x = pictures().requires_grad_()
    out = tokenizer(x)
    (out.image.square().mean() + out.loss).backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0  # through the rounding to indices
    if tokenizer.encoder is not None:
        assert all(p.grad is not None for p in tokenizer.encoder.parameters())
        assert tokenizer.encoder.conv_out.weight.grad.abs().sum() > 0
    assert torch.equal(out.indices, tokenizer.tokenize(x))


@KINDS
def test_copies_are_equal_and_apart(stirred_tokenizer: Stir, changes: dict[str, Any]) -> None:
    tokenizer = stirred_tokenizer(**changes)
    tokens = tokenizer.tokenize(pictures())
    for twin in (deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert torch.equal(twin.tokenize(pictures()), tokens)
        assert torch.equal(twin.detokenize(tokens), tokenizer.detokenize(tokens))
        with torch.no_grad():
            next(twin.decoder.parameters()).zero_()
    assert next(tokenizer.decoder.parameters()).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["to", "method"])
def test_half_precision_is_for_networks_only(stirred_tokenizer: Stir, dtype: torch.dtype, how: str) -> None:
    tokenizer = stirred_tokenizer(sharp_blocks=1, encoder_layers=0, **REFINED)
    before = {name: each.clone() for name, each in tokenizer.named_buffers()}
    tokens = tokenizer.tokenize(pictures())
    faithful, sharp = tokenizer.detokenize(tokens), tokenizer.detokenize(tokens, sharpness=1.0)
    names = list(tokenizer.state_dict())
    half = deepcopy(tokenizer)
    half = half.to(dtype) if how == "to" else getattr(half, str(dtype).removeprefix("torch."), half.half)()
    assert {each.dtype for each in half.decoder.parameters()} == {dtype}
    for name, each in half.named_buffers():
        assert torch.equal(each, before[name]), name  # in value and, as equal asks for it, in type
    assert list(half.state_dict()) == names
    assert torch.equal(half.tokenize(pictures()), tokens)
    for expected, look in ((faithful, 0.0), (sharp, 1.0)):
        found = half.detokenize(tokens, sharpness=look)
        assert found.dtype == torch.float32
        assert (found - expected).abs().max() < 8 / 255
    half.float()
    assert {each.dtype for each in half.parameters()} == {torch.float32}


def test_a_module_around_it_converts_it_too(stirred_tokenizer: Stir) -> None:
    """As Lightning's bf16-true does."""
    tokenizer = stirred_tokenizer()
    outer = torch.nn.ModuleList([tokenizer]).to(torch.bfloat16)
    assert tokenizer.linear_path is not None
    assert tokenizer.linear_path.scale.dtype == torch.float32
    assert outer[0](pictures()).image.shape == (2, 3, 32, 32)


@KINDS
def test_channels_last(stirred_tokenizer: Stir, changes: dict[str, Any]) -> None:
    tokenizer = stirred_tokenizer(**changes)
    tokens = tokenizer.tokenize(pictures())
    other = deepcopy(tokenizer).to(memory_format=torch.channels_last)
    found = other.tokenize(pictures().to(memory_format=torch.channels_last))
    assert torch.equal(found, tokens)
    torch.testing.assert_close(other.detokenize(tokens), tokenizer.detokenize(tokens), atol=1e-5, rtol=0)


def test_the_state_dict_is_stable(small_config: Callable[..., TokenizerConfig]) -> None:
    """Names of earlier releases go on to load: a change here is a change of every file out there."""
    tokenizer = Tokenizer(small_config(sharp_blocks=1))
    names = set(tokenizer.state_dict())
    assert {"latent_tokens", "linear_path.order", "linear_path.scale", "linear_path.centroids"} <= names
    assert {"encoder.patch_embed.weight", "decoder.mask_token", "sharp.gain"} <= names
    assert {name.split(".")[0] for name in names} == {
        "latent_tokens",
        "linear_path",
        "encoder",
        "decoder",
        "sharp",
    }
    again = Tokenizer(tokenizer.config)
    again.load_state_dict(tokenizer.state_dict(), strict=True)
    assert torch.equal(again.tokenize(pictures()), tokenizer.tokenize(pictures()))


@pytest.mark.slow
@KINDS
def test_torch_compile(stirred_tokenizer: Stir, changes: dict[str, Any]) -> None:
    tokenizer = stirred_tokenizer(**changes)
    compiled = torch.compile(tokenizer, backend="aot_eager")
    expected, found = tokenizer(pictures()), compiled(pictures())
    assert torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.image, expected.image, atol=1e-5, rtol=0)
    found.image.mean().backward()
    assert next(tokenizer.decoder.parameters()).grad is not None


@pytest.mark.slow
@KINDS
def test_torch_export(stirred_tokenizer: Stir, changes: dict[str, Any]) -> None:
    """Traced with two pictures and seven tokens, run with three and with any number of tokens."""
    tokenizer = stirred_tokenizer(**changes)
    tokens = tokenizer.tokenize(pictures(3))
    batch, count = Dim("batch"), Dim("count", min=1, max=16)
    with torch.no_grad():
        encoder = torch.export.export(Encoder(tokenizer), (pictures(),), dynamic_shapes=({0: batch},))
        assert torch.equal(encoder.module()(pictures(3)), tokens)
        traced = torch.export.export(
            Decoder(tokenizer), (tokens[:2, :7].contiguous(),), dynamic_shapes=({0: batch, 1: count},)
        ).module()
        for kept in (2, 7, 16):
            expected = tokenizer.detokenize(tokens[:, :kept])
            torch.testing.assert_close(traced(tokens[:, :kept]), expected, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_torch_export_of_the_rest(stirred_tokenizer: Stir) -> None:
    tokenizer = stirred_tokenizer(sharp_blocks=1)
    batch = {0: Dim("batch")}
    tokens, three = tokenizer.tokenize(pictures(3)), torch.tensor([1, 5, 16])
    with torch.no_grad():
        sharp = torch.export.export(
            Sharp(tokenizer),
            (pictures(), three[:2], torch.tensor(0.3)),
            dynamic_shapes=(batch, batch, None),
        ).module()
        expected = tokenizer.sharpen(pictures(3), three, 0.6).clamp(0, 1)
        torch.testing.assert_close(sharp(pictures(3), three, torch.tensor(0.6)), expected)
        forecast = torch.export.export(
            Forecast(tokenizer), (pictures(), tokens[:2]), dynamic_shapes=(batch, batch)
        ).module()
        assert tokenizer.linear_path is not None
        codes = tokenizer.quantizer.codes_from_indices(tokens)
        torch.testing.assert_close(
            forecast(pictures(3), tokens), tokenizer.linear_path.forecast(pictures(3), codes)
        )
