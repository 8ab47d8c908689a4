"""The VQGAN head's shapes, its soft codebook and its odd shortcut."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from onedpiece.tokenizer.config import TokenizerConfig, preset
from onedpiece.tokenizer.pixel_heads import VQGANHead
from onedpiece.tokenizer.vqgan import ResidualBlock, expected_code, level_channels


def tiny_config(**changes: object) -> TokenizerConfig:
    base = TokenizerConfig(
        image_size=64,
        num_tokens=32,
        width=64,
        heads=4,
        quantizer="vq",
        linear_path=False,
        pixel_head="vqgan",
        vqgan_channels=32,
        vqgan_codebook_size=16,
        vqgan_codebook_dim=8,
    )
    return replace(base, **changes)


def test_expected_code_is_the_softmax_weighted_row() -> None:
    codebook = torch.tensor([[1.0, 0.0], [5.0, 8.0]])
    # softmax(ln 3, 0) = (3/4, 1/4): 3/4·(1, 0) + 1/4·(5, 8) = (2, 2)
    logits = torch.tensor([math.log(3), 0.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(expected_code(logits, codebook).flatten(), torch.tensor([2.0, 2.0]))


def test_expected_code_keeps_rows_and_columns_apart() -> None:
    codebook = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    # patch (y, x) of a 2×3 grid is certain of row 3y + x
    logits = 1000 * torch.eye(6).view(1, 6, 2, 3)
    torch.testing.assert_close(expected_code(logits, codebook)[0, 0], torch.arange(6.0).view(2, 3))


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, 64),
        ({"image_size": 32}, 32),
        ({"image_size": 32, "patch_size": 4, "vqgan_multipliers": (1, 2, 2)}, 32),
    ],
)
def test_picture_has_the_models_size(changes: dict[str, object], size: int) -> None:
    config = tiny_config(**changes)
    features = torch.randn(2, config.width, config.grid, config.grid)
    with torch.inference_mode():
        assert VQGANHead(config)(features).shape == (2, 3, size, size)


def test_gradient_reaches_every_parameter_and_the_features() -> None:
    config = tiny_config(image_size=32)
    head = VQGANHead(config)
    features = torch.randn(1, config.width, config.grid, config.grid, requires_grad=True)
    head(features).square().mean().backward()
    assert features.grad is not None
    assert [name for name, p in head.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_shortcut_of_a_widening_block_sees_the_blocks_output() -> None:
    block = ResidualBlock(32, 64)
    assert isinstance(block.nin_shortcut, nn.Conv2d)
    x = torch.randn(1, 32, 4, 4)
    with torch.no_grad():
        block.nin_shortcut.weight.zero_()
        h = block(x)  # h + 0·h
        block.nin_shortcut.weight.copy_(2 * torch.eye(64)[:, :, None, None])
        torch.testing.assert_close(block(x), 3 * h)  # h + 2·h


def test_shortcut_of_an_even_block_is_its_input() -> None:
    block = ResidualBlock(32, 32)
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(1, 32, 4, 4)
    torch.testing.assert_close(block(x), x)


def test_levels_run_from_fine_to_coarse() -> None:
    # 128 × (1, 1, 2, 2, 4); each level's input is the next coarser level's output
    assert level_channels(preset("s-256")) == [(128, 128), (256, 128), (256, 256), (512, 256), (512, 512)]


def test_channels_that_do_not_divide_into_groups_are_named() -> None:
    with pytest.raises(ValueError, match="vqgan_channels 48"):
        VQGANHead(tiny_config(vqgan_channels=48))


def test_published_cnn_has_its_published_size() -> None:
    with torch.device("meta"):
        head = VQGANHead(preset("s-256"))
    # ALGORITHMS.md: 30.5 M parameters
    assert round(sum(p.numel() for p in head.pixel_decoder.parameters()) / 1e6, 1) == 30.5


@pytest.mark.slow
def test_published_head_draws_a_256_pixel_picture() -> None:
    config = preset("s-256")
    with torch.inference_mode():
        picture = VQGANHead(config)(torch.randn(1, config.width, config.grid, config.grid))
    assert picture.shape == (1, 3, 256, 256)
    assert picture.isfinite().all()
