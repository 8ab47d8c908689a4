"""The configuration: presets, round trips, and errors that name the field."""

import json
from dataclasses import replace

import pytest
import torch

from onedpiece.tokenizer import PRESETS, Tokenizer, TokenizerConfig, preset


def test_the_default_is_ti_256():
    config = preset("ti-256")
    assert config == TokenizerConfig()
    assert (config.width, config.heads, config.num_tokens, config.grid) == (384, 6, 256, 16)
    assert config.codebook_size == 4096  # twelve bits hold them all
    assert config.code_dim == 7
    # 63·65, 15²·17, 7²·9², 5·3⁶ and 15²·17 again
    assert sorted(set(config.codes_by_position)) == [3645, 3825, 3969, 4095]
    assert [config.codes_by_position[i] for i in (0, 8, 40, 112, 255)] == [4095, 3825, 3969, 3645, 3825]
    assert config.refines_dc


@pytest.mark.parametrize(
    ("name", "width", "layers", "heads"),
    [("s-256", 512, 8, 8), ("b-256", 768, 12, 12), ("l-256", 1024, 24, 16)],
)
def test_published_geometries(name: str, width: int, layers: int, heads: int):
    config = preset(name)
    assert (config.width, config.encoder_layers, config.decoder_layers, config.heads) == (
        width,
        layers,
        layers,
        heads,
    )
    assert (config.codebook_size, config.code_dim) == (4096, 12)
    assert not config.linear_path


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name: str):
    config = preset(name)
    again = TokenizerConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert hash(again) == hash(config)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"patch_size": 17}, "patch_size"),
        ({"heads": 5}, "heads"),
        ({"num_tokens": 0, "linear_path": False}, "num_tokens"),
        ({"num_tokens": 255}, "fsq_grades"),
        ({"fsq_grades": ((128, (8, 8)), (128, (4, 4)))}, "fsq_grades"),
        ({"quantizer": "vq"}, "linear_path"),
        ({"image_size": 0}, "image_size is 0; use at least 1"),
        ({"decoder_layers": 0}, "decoder_layers is 0"),
        ({"encoder_layers": -1}, "encoder_layers is -1"),
        ({"encoder_layers": 0, "linear_path": False}, "encoder_layers is 0: without a linear_path"),
        ({"default_sharpness": 1.1}, "default_sharpness is 1.1"),
        ({"linear_size": 48}, "linear_size is 48; .* go with 16, 32, 64, 128, 256"),
        # 24 and 12 patches a side do not share 64 pixels evenly.
        ({"image_size": 384}, "linear_size is 64; .* go with 24, 48, 96, 192, 384"),
        ({"image_size": 192}, "linear_size is 64; .* go with 12, 24, 48, 96, 192"),
        ({"image_size": 180, "patch_size": 6, "linear_path": False}, "patch_size is 6, and pixel_head patch"),
        (
            {"patch_size": 4, "image_size": 252, "linear_size": 63, "sharp_blocks": 1},
            "image_size is 252, and s",
        ),
        ({"linear_path": False, "pixel_head": "vqgan", "patch_size": 8}, "vqgan_multipliers"),
    ],
)
def test_a_value_that_does_not_fit_is_named(values: dict, field: str):
    with pytest.raises(ValueError, match=field):
        TokenizerConfig(**values)


def test_the_decoders_mlps_have_channels_of_their_own():
    slim = TokenizerConfig(decoder_hidden=100)
    assert TokenizerConfig.from_dict(slim.to_dict()) == slim
    assert "decoder_hidden" not in TokenizerConfig().to_dict()  # digests are older than the field
    tokenizer = Tokenizer(slim)
    assert {block.mlp.c_fc.out_features for block in tokenizer.decoder.transformer} == {100}
    assert {block.mlp.c_fc.out_features for block in tokenizer.encoder.transformer} == {4 * slim.width}
    with pytest.raises(ValueError, match="decoder_hidden is 0; use at least 1, or null"):
        TokenizerConfig(decoder_hidden=0)


def test_growth_is_told_where_it_is_not_the_usual():
    assert "sharp_growth" not in TokenizerConfig(sharp_blocks=1).to_dict()  # digests are older than the field
    slim = TokenizerConfig(sharp_blocks=1, sharp_growth=8)
    assert TokenizerConfig.from_dict(slim.to_dict()) == slim
    growing = [block.rdb1.conv1.out_channels for block in Tokenizer(slim).sharp.body]
    assert growing == [8]
    mixed = TokenizerConfig.from_dict({"sharp_blocks": 2, "sharp_growth": [8, 4]})
    assert TokenizerConfig.from_dict(mixed.to_dict()) == mixed
    assert [block.rdb1.conv1.out_channels for block in Tokenizer(mixed).sharp.body] == [8, 4]
    assert replace(mixed, sharp_blocks=0) == TokenizerConfig()  # no blocks are all alike
    for growth in (0, (8,), (8, 0), (8, 4, 4), ()):
        with pytest.raises(
            ValueError, match=r"sharp_growth is .*; use at least 1, for all blocks or for each"
        ):
            TokenizerConfig(sharp_blocks=2, sharp_growth=growth)


def test_maps_at_full_resolution_may_have_fewer_channels():
    assert "sharp_fine" not in TokenizerConfig(sharp_blocks=1).to_dict()  # digests are older than the field
    slim = TokenizerConfig(sharp_blocks=1, sharp_fine=8)
    assert TokenizerConfig.from_dict(slim.to_dict()) == slim
    network = Tokenizer(slim).sharp
    shapes = [tuple(conv.weight.shape[:2]) for conv in (network.conv_up2, network.conv_hr, network.conv_last)]
    assert shapes == [(8, 64), (8, 8), (3, 8)]
    picture = network(torch.rand(1, 3, 32, 32), torch.tensor([4]))
    assert picture.shape == (1, 3, 32, 32)
    assert replace(slim, sharp_blocks=0) == TokenizerConfig()
    with pytest.raises(ValueError, match="sharp_fine is 0; use at least 1"):
        TokenizerConfig(sharp_blocks=2, sharp_fine=0)


def test_unlike_grades_round_up_to_a_power_of_two():
    # 64² = 4096 and 63·65 = 4095: 12 bits hold both
    assert TokenizerConfig(fsq_grades=((128, (64, 64)), (128, (63, 65)))).codebook_size == 4096


def test_only_a_last_token_of_three_channels_refines_colours():
    assert TokenizerConfig(fsq_grades=((255, (63, 65)), (1, (15, 15, 17)))).refines_dc
    assert not TokenizerConfig(fsq_grades=((255, (63, 65)), (1, (7, 7, 9, 9)))).refines_dc
    alone = TokenizerConfig(image_size=16, linear_size=16, num_tokens=1, fsq_grades=((1, (15, 15, 17)),))
    assert not alone.refines_dc  # there is nothing to refine


def test_more_channels_than_coefficients_are_refused():
    config = TokenizerConfig(image_size=64, linear_size=16)
    with pytest.raises(ValueError, match="fsq_grades have 1401 channels, and linear_size 16 768 coeff"):
        Tokenizer(config)


@pytest.mark.parametrize(
    ("image_size", "patch_size", "linear_size"),
    [(384, 16, 96), (192, 16, 48), (36, 6, 36), (32, 2, 32), (66, 3, 22), (64, 16, 32)],
)
def test_every_geometry_that_is_accepted_draws(image_size: int, patch_size: int, linear_size: int):
    config = TokenizerConfig(
        image_size=image_size,
        patch_size=patch_size,
        linear_size=linear_size,
        pixel_head="linear" if patch_size == 6 else "patch",
        width=8,
        heads=1,
        encoder_layers=1,
        decoder_layers=1,
    )
    tokenizer = Tokenizer(config)
    with torch.inference_mode():
        picture = tokenizer.detokenize(tokenizer.tokenize(torch.rand(1, 3, image_size, image_size)))
    assert picture.shape == (1, 3, image_size, image_size)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="ti-256"):
        preset("xl-512")
    with pytest.raises(ValueError, match="depth"):
        TokenizerConfig.from_dict({"depth": 3})
