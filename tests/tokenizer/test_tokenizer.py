"""The tokenizer as a whole: shapes, errors, modes, and that training moves every parameter."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from onedpiece.tokenizer import Tokenizer, TokenizerConfig, preset
from onedpiece.tokenizer.pixel_heads import PatchHead
from onedpiece.tokenizer.transformer import build_blocks

GRADES = ((4, (64, 64)), (8, (16, 16, 16)))
BASE = {"image_size": 32, "patch_size": 8, "num_tokens": 12, "width": 32, "heads": 2}
LAYERS = {"encoder_layers": 1, "decoder_layers": 2}
CONFIGS = {
    "linear": TokenizerConfig(**BASE, **LAYERS, fsq_grades=GRADES, linear_size=16),
    "plain_fsq": TokenizerConfig(**BASE, **LAYERS, fsq_grades=((12, (8, 8, 8, 8)),), linear_path=False),
    "plain_vq": TokenizerConfig(
        **BASE, **LAYERS, quantizer="vq", vq_codebook_size=64, vq_dim=4, linear_path=False
    ),
}


def pictures(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", CONFIGS)
def test_there_and_back(name: str):
    tokenizer = Tokenizer(CONFIGS[name])
    tokens = tokenizer.tokenize(pictures())
    assert tokens.shape == (2, 12)
    assert tokens.dtype == torch.int64
    assert tokens.max() < tokenizer.config.codebook_size
    out = tokenizer.detokenize(tokens[:, :5])
    assert out.shape == (2, 3, 32, 32)
    assert 0 <= out.min() <= out.max() <= 1
    assert tokenizer.training  # both restore the mode


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_learns(name: str):
    torch.manual_seed(0)
    tokenizer = Tokenizer(CONFIGS[name])
    optimizer = torch.optim.SGD(tokenizer.parameters(), lr=0.1)
    for _ in range(3):  # zero-initialised branches pass their gradient on only after they have moved
        optimizer.zero_grad()
        out = tokenizer(pictures())
        ((out.image - pictures()).square().mean() + out.loss).backward()
        optimizer.step()
    silent = [n for n, p in tokenizer.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_weights_are_drawn_small_and_smaller_where_branches_end():
    blocks = dict(build_blocks(64, 1, 8).named_parameters())
    # A normal cut at two deviations has 0.88 of its deviation; ends are drawn by sqrt(2·8) = 4 smaller.
    for name, deviation in (("0.mlp.c_fc.weight", 0.02), ("7.mlp.c_proj.weight", 0.005)):
        assert blocks[name].std().item() == pytest.approx(0.88 * deviation, rel=0.02)
        assert 1.9 * deviation < blocks[name].abs().max() <= 2.0001 * deviation


def test_what_is_frozen_stays_in_evaluation_mode():
    tokenizer = Tokenizer(CONFIGS["linear"]).train()
    tokenizer.encoder.eval()
    before = {name: each.training for name, each in tokenizer.named_modules()}
    tokenizer.detokenize(tokenizer.tokenize(pictures()))
    assert {name: each.training for name, each in tokenizer.named_modules()} == before


def test_tokenizing_in_training_mode_leaves_the_codebook_alone():
    tokenizer = Tokenizer(CONFIGS["plain_vq"]).train()
    before = {k: v.clone() for k, v in tokenizer.state_dict().items()}
    tokenizer.tokenize(pictures())
    assert all(torch.equal(before[k], v) for k, v in tokenizer.state_dict().items())


def test_untrained_linear_tokenizer_returns_the_linear_picture():
    tokenizer = Tokenizer(CONFIGS["linear"]).eval()
    codes = tokenizer.encode(pictures()).codes
    assert tokenizer.linear_path is not None
    torch.testing.assert_close(codes, tokenizer.quantizer(tokenizer.linear_path.analyse(pictures())).codes)
    low = torch.nn.functional.avg_pool2d(tokenizer.decode(codes), 2)
    torch.testing.assert_close(low, tokenizer.linear_path.synthesise(codes), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("indices", "lengths", "message"),
    [
        (torch.zeros(2, 13), None, r"1…12"),
        (torch.zeros(2, 0), None, r"1…12"),
        (torch.zeros(12), None, r"1…12"),
        (torch.full((1, 2), 4096), None, "4095"),
        (torch.full((1, 2), -1), None, "4095"),
        (torch.zeros(2, 4), torch.tensor([1]), "lengths"),
        (torch.zeros(1, 4), torch.tensor([5]), "lengths"),
        (torch.zeros(1, 4), torch.tensor([0]), "lengths"),
    ],
)
def test_detokenize_says_what_is_wrong(indices: torch.Tensor, lengths: torch.Tensor | None, message: str):
    with pytest.raises(ValueError, match=message):
        Tokenizer(CONFIGS["linear"]).detokenize(indices.long(), lengths)
    if lengths is None:
        with pytest.raises(ValueError, match=message):
            Tokenizer(CONFIGS["linear"]).detokenize_linear(indices.long())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.complex64])
def test_only_integers_are_indices(dtype: torch.dtype):
    tokenizer = Tokenizer(CONFIGS["linear"])
    for method in (tokenizer.detokenize, tokenizer.detokenize_linear):
        with pytest.raises(ValueError, match=f"indices are of {dtype}; this tokenizer takes integers"):
            method(torch.zeros(1, 4, dtype=dtype))


@pytest.mark.parametrize("kind", ["tensor", "list", "array"])
def test_what_stands_behind_a_length_is_ignored(kind: str):
    tokenizer = Tokenizer(CONFIGS["linear"])
    indices = torch.tensor([[7, 8, 9], [5, 6, -1]])
    lengths = {"tensor": torch.tensor([3, 2]), "list": [3, 2], "array": np.array([3, 2])}[kind]
    mixed = tokenizer.detokenize(indices, lengths)
    torch.testing.assert_close(mixed[1:], tokenizer.detokenize(indices[1:, :2]), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="-1"):
        tokenizer.detokenize(indices)


def test_an_empty_batch_is_a_batch():
    assert Tokenizer(CONFIGS["linear"]).detokenize(torch.zeros(0, 4).long()).shape == (0, 3, 32, 32)


def test_autocast_changes_nothing():
    tokenizer = Tokenizer(CONFIGS["linear"])
    indices = tokenizer.tokenize(pictures())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tokenizer.tokenize(pictures()), indices)
        picture = tokenizer.detokenize(indices.to(torch.uint16))
    assert torch.equal(picture, tokenizer.detokenize(indices))


def test_autocast_leaves_the_linear_picture_of_a_training_step_exact():
    tokenizer = Tokenizer(CONFIGS["linear"])  # untrained, its networks add nothing
    codes = tokenizer.encode(pictures()).codes
    with torch.autocast("cpu", torch.bfloat16):
        under = tokenizer.decode(codes)
    assert torch.equal(under, tokenizer.decode(codes))


def test_a_flat_picture_stays_flat_whatever_the_network_adds():
    # Odd levels, so that codes of 0 are mid-grey.
    tokenizer = Tokenizer(replace(CONFIGS["linear"], fsq_grades=((4, (63, 65)), (8, (15, 15, 17)))))
    flat, detailed = torch.zeros(1, 12, 3), tokenizer.encode(pictures(1)).codes
    before = tokenizer.decode(detailed)
    assert isinstance(tokenizer.decoder.head, PatchHead)
    torch.nn.init.constant_(tokenizer.decoder.head.to_pixels.bias, 0.2)  # everywhere
    torch.testing.assert_close(tokenizer.decode(flat), torch.full((1, 3, 32, 32), 0.5))
    assert 0.15 < float((tokenizer.decode(detailed) - before).mean()) < 0.2


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(B, 3, 32, 32\)"):
        Tokenizer(CONFIGS["linear"]).tokenize(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (pictures() * float("nan"), "run from nan to nan"),
        (pictures() * 255, r"run from 0\.\d+ to 25\d.*; expected \[0, 1\]"),
        (pictures() * 2 - 1, "run from -0.9"),
        ((pictures() * 255).to(torch.uint8), "of type torch.uint8"),
    ],
)
def test_pictures_of_another_range_are_refused(x: torch.Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        Tokenizer(CONFIGS["linear"]).tokenize(x)


@pytest.mark.parametrize("name", CONFIGS)
def test_float64_weights_are_refused(name: str):
    tokenizer = Tokenizer(CONFIGS[name]).double()
    tokens = torch.zeros(1, 2, dtype=torch.int64)
    for work in (lambda: tokenizer.tokenize(pictures()), lambda: tokenizer.detokenize(tokens)):
        with pytest.raises(ValueError, match=r"weights are torch.float64; its networks work in float32, bf"):
            work()


@pytest.mark.slow
@pytest.mark.parametrize("sharp_blocks", [0, 1])
def test_compiled_methods_give_the_same(sharp_blocks: int):
    tokenizer = Tokenizer(replace(CONFIGS["linear"], sharp_blocks=sharp_blocks)).eval()
    indices = torch.compile(tokenizer.tokenize, backend="aot_eager")(pictures())
    assert torch.equal(indices, tokenizer.tokenize(pictures()))
    decode = torch.compile(tokenizer.detokenize, backend="aot_eager")
    sharpness = float(bool(sharp_blocks))
    expected = tokenizer.detokenize(indices, None, sharpness)
    torch.testing.assert_close(decode(indices, None, sharpness), expected, atol=1e-5, rtol=0)


def test_the_default_fits_the_bundle():
    parameters = sum(p.numel() for p in Tokenizer(preset("ti-256")).parameters())
    assert parameters * 2 < 48e6


def test_what_comes_out_can_take_part_in_training():
    tokenizer = Tokenizer(CONFIGS["linear"])
    scale = torch.ones(1, requires_grad=True)
    (tokenizer.detokenize(tokenizer.tokenize(pictures())) * scale).sum().backward()
    assert scale.grad is not None
    assert scale.grad > 0
