"""Released weights: parity with the authors' outputs, and the list of keys of every published size."""

from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from onedpiece.tokenizer import Tokenizer, preset
from onedpiece.tokenizer.official import (
    check_keys,
    default_heads,
    our_name,
    read_config,
    released_name,
    released_shapes,
)

State = dict[str, Tensor]
CLOSE = {"atol": 1e-4, "rtol": 0.0}  # what the vectors' README promises


@pytest.fixture(scope="module")
def state(data: Path) -> State:
    return load_file(data / "official_state.safetensors")


@pytest.fixture(scope="module")
def vectors(data: Path) -> State:
    return load_file(data / "official_io.safetensors")


@pytest.fixture(scope="module")
def tokenizer(state: State) -> Tokenizer:
    return Tokenizer.from_official(state)


def test_latents_are_the_authors(tokenizer: Tokenizer, vectors: State) -> None:
    with torch.no_grad():
        latents = tokenizer.encoder(vectors["input"], tokenizer.latent_tokens)
    torch.testing.assert_close(latents.transpose(1, 2).unsqueeze(2), vectors["encoder_latents"], **CLOSE)


def test_codes_and_indices_are_the_authors(tokenizer: Tokenizer, vectors: State) -> None:
    with torch.no_grad():
        quantized = tokenizer.encode(vectors["input"])
    torch.testing.assert_close(quantized.codes.transpose(1, 2).unsqueeze(2), vectors["quantized"], **CLOSE)
    assert torch.equal(quantized.indices, vectors["indices"])
    assert torch.equal(tokenizer.tokenize(vectors["input"]), vectors["indices"])


@pytest.mark.parametrize("count", [1, 5, 16, 32])
def test_pictures_are_the_authors(tokenizer: Tokenizer, vectors: State, count: int) -> None:
    expected, indices = vectors[f"decoded_{count}"], vectors["indices"][:, :count]
    with torch.no_grad():
        picture = tokenizer.decode(tokenizer.quantizer.codes_from_indices(indices))
    torch.testing.assert_close(picture, expected, **CLOSE)
    torch.testing.assert_close(tokenizer.detokenize(indices), expected.clamp(0, 1), **CLOSE)


def test_the_encoders_quirk_is_what_makes_the_indices_match(state: State, vectors: State) -> None:
    plain = Tokenizer(replace(read_config(state), released_latent_layout=False))
    plain.load_state_dict(Tokenizer.from_official(state).state_dict())
    assert (plain.tokenize(vectors["input"]) == vectors["indices"]).float().mean() < 0.1


def test_geometry_is_read_off_the_shapes(tokenizer: Tokenizer) -> None:
    # reference/README.md: W 64, 2 layers, 4 heads, image 64, patch 16, 32 latents, codebook 512×12,
    # VQGAN decoder 32 channels × (1, 1, 2, 2, 4), pixel codebook 1024×64
    assert tokenizer.config == replace(
        preset("s-256"),
        image_size=64,
        patch_size=16,
        num_tokens=32,
        width=64,
        heads=4,
        encoder_layers=2,
        decoder_layers=2,
        vq_codebook_size=512,
        vq_dim=12,
        vqgan_channels=32,
        vqgan_multipliers=(1, 1, 2, 2, 4),
        vqgan_codebook_size=1024,
        vqgan_codebook_dim=64,
    )


def test_levels_widths_are_multiples_of_what_divides_them_all(state: State) -> None:
    widths = (64, 64, 96, 96, 128)  # 32 × (2, 2, 3, 3, 4)
    names = (f"pixel_decoder.up.{level}.block.0.conv2.weight" for level in range(5))
    wider = {name: torch.zeros(width, width, 3, 3) for name, width in zip(names, widths, strict=True)}
    config = read_config(state | wider)
    assert (config.vqgan_channels, config.vqgan_multipliers) == (32, (2, 2, 3, 3, 4))


def test_every_tensor_is_taken_over(tokenizer: Tokenizer, state: State) -> None:
    ours = tokenizer.state_dict()
    different = [
        k for k, v in state.items() if k != "quantize.embedding.weight" and not v.equal(ours[our_name(k)])
    ]
    assert different == []


def test_the_callers_tensors_stay_the_callers(state: State) -> None:
    before = state["latent_tokens"].clone()
    loaded = Tokenizer.from_official(state)
    with torch.no_grad():
        loaded.latent_tokens.zero_()
    assert torch.equal(state["latent_tokens"], before)


def test_half_precision_weights_become_float32(state: State) -> None:
    loaded = Tokenizer.from_official({key: value.half() for key, value in state.items()})
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_heads_can_be_given_and_else_follow_the_width(state: State) -> None:
    assert Tokenizer.from_official(state, heads=8).config.heads == 8
    assert [default_heads(width) for width in (64, 256, 512, 768, 1024)] == [4, 4, 8, 12, 16]


def test_missing_and_unexpected_keys_are_named(state: State) -> None:
    damaged = {k: v for k, v in state.items() if k != "decoder.mask_token"} | {"extra.bias": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"missing: decoder\.mask_token; unexpected: extra\.bias$"):
        Tokenizer.from_official(damaged)


@pytest.mark.parametrize(
    "key", ["latent_tokens", "quantize.embedding.weight", "pixel_decoder.up.2.block.0.conv2.weight"]
)
def test_a_missing_key_that_tells_a_size_is_named(state: State, key: str) -> None:
    with pytest.raises(ValueError, match=f"missing: {key}$"):
        Tokenizer.from_official({k: v for k, v in state.items() if k != key})


def test_another_shape_is_named_with_both_shapes(state: State) -> None:
    damaged = state | {"encoder.ln_post.bias": torch.zeros(65)}
    with pytest.raises(ValueError, match=r"encoder\.ln_post\.bias \(65,\) instead of \(64,\)"):
        Tokenizer.from_official(damaged)


def test_a_missing_layer_is_a_gap(state: State) -> None:
    damaged = {k.replace("encoder.transformer.1.", "encoder.transformer.7."): v for k, v in state.items()}
    with pytest.raises(
        ValueError, match=r"missing: encoder\.transformer\.1\..* unexpected: encoder\.transformer\.7\."
    ):
        Tokenizer.from_official(damaged)


def test_a_long_list_of_keys_is_cut() -> None:
    with pytest.raises(ValueError, match=r"missing: k0, k1, k2, k3, k4, k5, k6, k7 and 1 more$"):
        check_keys({}, {f"k{i}": (1,) for i in range(9)})


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("latent_tokens", (1, 32, 64)),
        ("encoder.positional_embedding", (18, 64)),
        ("pixel_decoder.up.2.block.0.conv2.weight", (0, 64, 3, 3)),
    ],
)
def test_a_size_that_makes_no_sense_names_its_key(state: State, key: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=key):
        Tokenizer.from_official(state | {key: torch.zeros(shape)})


# The published state dicts, key by key (ALGORITHMS.md §1) ------------------------------------------------

Shapes = dict[str, tuple[int, ...]]


def pair(name: str, out: int, *rest: int) -> Shapes:
    return {f"{name}.weight": (out, *rest), f"{name}.bias": (out,)}


def transformer_shapes(name: str, width: int, layers: int) -> Shapes:
    shapes: Shapes = pair(f"{name}.ln_pre", width) | pair(f"{name}.ln_post", width)
    for i in range(layers):
        block = f"{name}.transformer.{i}"
        shapes |= pair(f"{block}.ln_1", width) | pair(f"{block}.ln_2", width)
        shapes[f"{block}.attn.in_proj_weight"] = (3 * width, width)
        shapes[f"{block}.attn.in_proj_bias"] = (3 * width,)
        shapes |= pair(f"{block}.attn.out_proj", width, width)
        shapes |= pair(f"{block}.mlp.c_fc", 4 * width, width) | pair(f"{block}.mlp.c_proj", width, 4 * width)
    return shapes


def block_shapes(name: str, before: int, after: int) -> Shapes:
    shapes: Shapes = pair(f"{name}.norm1", before) | pair(f"{name}.norm2", after)
    shapes[f"{name}.conv1.weight"] = (after, before, 3, 3)
    shapes[f"{name}.conv2.weight"] = (after, after, 3, 3)
    if before != after:
        shapes[f"{name}.nin_shortcut.weight"] = (after, after, 1, 1)
    return shapes


def pixel_decoder_shapes() -> Shapes:
    shapes: Shapes = pair("pixel_decoder.conv_in", 512, 256, 3, 3) | pair("pixel_decoder.norm_out", 128)
    shapes |= pair("pixel_decoder.conv_out", 3, 128, 3, 3)
    for i in range(2):
        shapes |= block_shapes(f"pixel_decoder.mid.{i}", 512, 512)
    # 128 × (1, 1, 2, 2, 4), applied from level 4 to level 0
    for level, (before, after) in enumerate([(128, 128), (256, 128), (256, 256), (512, 256), (512, 512)]):
        shapes |= block_shapes(f"pixel_decoder.up.{level}.block.0", before, after)
        shapes |= block_shapes(f"pixel_decoder.up.{level}.block.1", after, after)
        if level:
            shapes |= pair(f"pixel_decoder.up.{level}.upsample_conv", after, after, 3, 3)
    return shapes


def published_shapes(width: int, layers: int) -> Shapes:
    shapes: Shapes = {
        "latent_tokens": (256, width),
        "encoder.class_embedding": (1, width),
        "encoder.positional_embedding": (257, width),
        "encoder.latent_token_positional_embedding": (256, width),
        "decoder.class_embedding": (1, width),
        "decoder.positional_embedding": (257, width),
        "decoder.mask_token": (1, 1, width),
        "decoder.latent_token_positional_embedding": (256, width),
        "quantize.embedding.weight": (4096, 12),
        "pixel_quantize.embedding.weight": (1024, 256),
    }
    shapes |= pair("encoder.patch_embed", width, 3, 16, 16) | pair("encoder.conv_out", 12, width, 1, 1)
    shapes |= pair("decoder.decoder_embed", width, 12)
    shapes |= pair("decoder.ffn.0", 2 * width, width, 1, 1) | pair("decoder.ffn.2", 1024, 2 * width, 1, 1)
    shapes |= transformer_shapes("encoder", width, layers) | transformer_shapes("decoder", width, layers)
    return shapes | pixel_decoder_shapes()


@pytest.mark.parametrize(
    ("name", "width", "layers", "tensors", "millions"),
    [("s-256", 512, 8, 308, 83.87), ("b-256", 768, 12, 404, 205.26), ("l-256", 1024, 24, 692, 641.74)],
)
def test_published_geometries_have_the_released_keys(
    name: str, width: int, layers: int, tensors: int, millions: float
) -> None:
    with torch.device("meta"):
        shapes = released_shapes(Tokenizer(preset(name)).state_dict(), preset(name))
    assert shapes == published_shapes(width, layers)
    assert len(shapes) == tensors
    assert round(sum(prod(shape) for shape in shapes.values()) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("name", "width", "layers"), [("s-256", 512, 8), ("b-256", 768, 12), ("l-256", 1024, 24)]
)
def test_published_shapes_give_the_presets(name: str, width: int, layers: int) -> None:
    released = {
        key: torch.empty(shape, device="meta") for key, shape in published_shapes(width, layers).items()
    }
    assert read_config(released) == preset(name)


def test_names_map_there_and_back() -> None:
    keys = published_shapes(512, 1).keys() - {"quantize.embedding.weight"}
    assert [key for key in keys if released_name(our_name(key)) != key] == []
    assert our_name("pixel_decoder.conv_in.bias") == "decoder.head.pixel_decoder.conv_in.bias"
    assert our_name("latent_tokens") == "latent_tokens"
