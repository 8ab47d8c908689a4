"""The MaskGIT-VQGAN: its released names, its codes, and the decoder that it shares with the pixel head."""

from dataclasses import replace

import pytest
import torch

from onedpiece.tokenizer.config import TokenizerConfig, preset
from onedpiece.tokenizer.vqgan import VQGAN, PixelCodebook, load_vqgan

TINY = TokenizerConfig(
    image_size=32,
    patch_size=8,
    num_tokens=8,
    width=32,
    heads=2,
    quantizer="vq",
    linear_path=False,
    pixel_head="vqgan",
    vqgan_channels=32,
    vqgan_multipliers=(1, 1, 2, 2),
    vqgan_codebook_size=16,
    vqgan_codebook_dim=8,
)


def test_names_and_shapes_are_those_of_the_released_weights() -> None:
    with torch.device("meta"):
        state = VQGAN(preset("s-256")).state_dict()
    # MaskGIT's f16 VQGAN at 256 pixels: 128 channels × (1, 1, 2, 2, 4), two blocks a level, 1024 × 256 codes
    shapes = {
        "encoder.conv_in.weight": (128, 3, 3, 3),
        "encoder.down.0.block.0.conv1.weight": (128, 128, 3, 3),
        "encoder.down.2.block.0.nin_shortcut.weight": (256, 256, 1, 1),
        "encoder.down.4.block.1.norm2.bias": (512,),
        "encoder.mid.1.conv2.weight": (512, 512, 3, 3),
        "encoder.norm_out.weight": (512,),
        "encoder.conv_out.weight": (256, 512, 1, 1),
        "encoder.conv_out.bias": (256,),
        "quantize.embedding.weight": (1024, 256),
        "decoder.conv_in.weight": (512, 256, 3, 3),
        "decoder.up.4.upsample_conv.weight": (512, 512, 3, 3),
        "decoder.up.0.block.1.conv2.weight": (128, 128, 3, 3),
        "decoder.conv_out.bias": (3,),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    for absent in (
        "encoder.conv_in.bias",
        "encoder.down.1.block.0.nin_shortcut.weight",
        "decoder.up.0.upsample_conv",
    ):
        assert not any(name.startswith(absent) for name in state)


def test_the_nearest_row_is_the_code() -> None:
    codebook = PixelCodebook(3, 2)
    codebook.embedding.weight.data = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 0.0]])
    # squared distances of (4, 1): 17, 10, 5; of (1, 1): 2, 13, 26
    latents = torch.tensor([[4.0, 1.0], [1.0, 1.0]]).T.reshape(1, 2, 1, 2)
    assert codebook.nearest(latents).tolist() == [[[2, 0]]]


def test_codes_and_pictures_have_the_grids_and_the_pictures_size() -> None:
    torch.manual_seed(0)
    vqgan = VQGAN(TINY)
    codes = vqgan.codes(torch.rand(2, 3, 32, 32))
    assert (codes.shape, codes.dtype) == ((2, 4, 4), torch.int64)
    assert vqgan.draw(codes).shape == (2, 3, 32, 32)


def test_what_is_loaded_is_frozen_and_what_does_not_fit_is_named() -> None:
    state = VQGAN(TINY).state_dict()
    loaded = load_vqgan(state, TINY)
    assert not any(p.requires_grad for p in loaded.parameters())
    with pytest.raises(
        ValueError, match=r"pixel head \(.*codebook.*|pixel head \(quantize\.embedding\.weight differ"
    ):
        load_vqgan(state, replace(TINY, vqgan_codebook_size=32))
    state.pop("encoder.conv_out.bias")
    with pytest.raises(ValueError, match=r"\(encoder\.conv_out\.bias differ\)"):
        load_vqgan(state, TINY)
