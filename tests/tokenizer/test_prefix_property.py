"""A prefix of the tokens is all that its picture depends on, and neighbours in a batch do not matter."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from onedpiece.tokenizer import PRESETS, Tokenizer, TokenizerConfig, preset
from onedpiece.tokenizer.quantizer import CosineVQ

N = 32
GRADED = ((1, (64, 64)), (4, (16, 16, 16)), (9, (8, 8, 8, 8)), (18, (4, 4, 4, 4, 4, 4)))
FLAT = ((N, (8, 8, 8, 8)),)


def scaled(config: TokenizerConfig) -> TokenizerConfig:
    """The same network with an eighth of the width, a quarter of the layers and an eighth of the tokens."""
    return replace(
        config,
        image_size=64,
        num_tokens=N,
        width=config.width // 8,
        encoder_layers=config.encoder_layers // 4,
        decoder_layers=config.decoder_layers // 4,
        fsq_grades=GRADED,
        linear_size=16,
        vqgan_channels=32,
        vqgan_multipliers=(1, 1, 1, 1, 2),
        vqgan_codebook_size=64,
        vqgan_codebook_dim=16,
    )


TINY = scaled(preset("ti-256"))
CONFIGS = {name: scaled(config) for name, config in PRESETS.items()} | {
    "flat fsq": replace(TINY, fsq_grades=FLAT),
    "flat fsq, plain": replace(TINY, fsq_grades=FLAT, linear_path=False),
    "graded fsq, plain": replace(TINY, linear_path=False),
    "vq, patch head": replace(TINY, linear_path=False, quantizer="vq"),
    "graded fsq, shuffle head": replace(TINY, pixel_head="shuffle"),
    "graded fsq, linear head": replace(TINY, pixel_head="linear"),
    "graded fsq, vqgan head": replace(TINY, pixel_head="vqgan"),
    "graded fsq, plain, vqgan head": replace(TINY, linear_path=False, pixel_head="vqgan"),
}


def random_tokenizer(config: TokenizerConfig) -> Tokenizer:
    """Every weight and code away from its start: fresh residual branches are zero and would hide faults."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = Tokenizer(config).eval()
    with torch.no_grad():
        for name, parameter in tokenizer.named_parameters():
            # Less noise, and a random encoder gives every photograph the same tokens.
            alpha = 0.2 if name.startswith("encoder.") else 0.05
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=alpha)
    if isinstance(tokenizer.quantizer, CosineVQ):
        rows = torch.randn(config.vq_codebook_size, config.vq_dim, generator=generator)
        tokenizer.quantizer.load_codebook(rows)
    return tokenizer


def random_indices(tokenizer: Tokenizer, batch: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, tokenizer.config.num_tokens)
    return torch.randint(tokenizer.config.codebook_size, shape, generator=generator)


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda name: name.replace(", ", "-").replace(" ", "_"))
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return random_tokenizer(CONFIGS[request.param])


@pytest.fixture(scope="module")
def crops(data: Path) -> Tensor:
    """32 photographic crops, (32, 3, 64, 64) in [0, 1]."""
    names = ("astronaut", "chelsea", "coffee", "rocket")
    pictures = [np.asarray(Image.open(data / f"{name}.png").convert("RGB")) for name in names]
    parts = [p[y : y + 64, x : x + 64] for p in pictures for y in (64, 128) for x in (0, 64, 128, 192)]
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2) / 255


def rounding(tokenizer: Tokenizer) -> float:
    """How far two float32 decodes of one thing may lie apart.

    A random VQGAN decoder is 2e-5 to 4e-5 away from its float64 self whatever is fed to it (22 convolutions
    between normalisations); `test_truncation_is_exact` is what shows that nothing but rounding hides in it.
    """
    return 1e-4 if tokenizer.config.pixel_head == "vqgan" else 1e-5


def eight_bit(picture: Tensor) -> Tensor:
    return (picture * 255).round().int()


@pytest.mark.parametrize("k", [1, 5, 6, 20])
def test_tokens_after_k_do_not_matter(tokenizer: Tokenizer, k: int) -> None:
    indices, others = random_indices(tokenizer, 2, seed=1), random_indices(tokenizer, 2, seed=2)
    changed = torch.cat([indices[:, :k], others[:, k:]], dim=1)
    lengths = torch.full((2,), k)
    prefix = tokenizer.detokenize(indices[:, :k])
    assert torch.equal(tokenizer.detokenize(changed[:, :k]), prefix)
    assert torch.equal(tokenizer.detokenize(changed, lengths), tokenizer.detokenize(indices, lengths))
    torch.testing.assert_close(
        tokenizer.detokenize(changed, lengths), prefix, atol=rounding(tokenizer), rtol=0
    )


@pytest.mark.parametrize("position", [0, 5, N - 1])
def test_every_kept_token_matters(tokenizer: Tokenizer, position: int) -> None:
    codes = tokenizer.quantizer.codes_from_indices(random_indices(tokenizer, 1, seed=3)).requires_grad_()
    # Squares of differences from a picture: a plain sum could be blind to the coefficients without a mean.
    (gradient,) = torch.autograd.grad((tokenizer.decode(codes) - 0.3).square().sum(), codes)
    assert gradient[0, position].abs().max() > 1e-5


def test_mixed_lengths_equal_true_truncation(tokenizer: Tokenizer) -> None:
    lengths = [1, 2, 5, 14, 31, N]
    indices = random_indices(tokenizer, len(lengths), seed=4)
    together = tokenizer.detokenize(indices, torch.tensor(lengths))
    for i, k in enumerate(lengths):
        alone = tokenizer.detokenize(indices[i : i + 1, :k])
        torch.testing.assert_close(together[i : i + 1], alone, atol=rounding(tokenizer), rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_truncation_is_exact(name: str) -> None:
    tokenizer = random_tokenizer(CONFIGS[name]).double()
    lengths = [1, 2, 5, 14, 31, N]
    codes = tokenizer.quantizer.codes_from_indices(random_indices(tokenizer, len(lengths), seed=4)).double()
    with torch.no_grad():
        together = tokenizer.decode(codes, torch.tensor(lengths))
        alone = [tokenizer.decode(codes[i : i + 1, :k]) for i, k in enumerate(lengths)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-10, rtol=0)


def test_dropped_codes_get_no_gradient_and_give_no_signal(tokenizer: Tokenizer) -> None:
    codes = tokenizer.quantizer.codes_from_indices(random_indices(tokenizer, 2, seed=5))
    lengths = torch.tensor([3, 17])
    wild = codes.clone()
    wild[0, 3:] = 1.0
    wild[1, 17:] = -1.0
    wild.requires_grad_()
    picture = tokenizer.decode(wild, lengths)
    torch.testing.assert_close(picture, tokenizer.decode(codes, lengths), atol=rounding(tokenizer), rtol=0)
    (gradient,) = torch.autograd.grad(picture.square().sum(), wild)
    assert not gradient[0, 3:].any()
    assert not gradient[1, 17:].any()
    assert gradient[0, 2].any()
    assert gradient[1, 16].any()


def test_a_batch_is_its_pictures_one_by_one(tokenizer: Tokenizer, crops: Tensor) -> None:
    together = tokenizer.tokenize(crops)
    alone = torch.cat([tokenizer.tokenize(crop[None]) for crop in crops])
    # 32 pictures × 32 tokens = 1024: one of them may tip at a rounding boundary, two may not
    assert (together == alone).float().mean() >= 0.999
    assert together.unique(dim=0).shape[0] > 0.9 * len(crops), "the tokens hardly depend on the picture"
    few = together[:8]
    pictures = torch.cat([tokenizer.detokenize(row[None]) for row in few])
    assert (eight_bit(tokenizer.detokenize(few)) - eight_bit(pictures)).abs().max() <= 1


@pytest.mark.slow
def test_the_default_model_at_full_size_agrees_too(data: Path) -> None:
    tokenizer = random_tokenizer(preset("ti-256"))
    names = ("astronaut", "chelsea", "coffee")
    arrays = np.stack([np.asarray(Image.open(data / f"{name}.png").convert("RGB")) for name in names])
    x = torch.from_numpy(arrays).permute(0, 3, 1, 2) / 255
    together = tokenizer.tokenize(x)
    assert (together == torch.cat([tokenizer.tokenize(one[None]) for one in x])).float().mean() >= 0.999
    lengths = torch.tensor([8, 100, 256])
    mixed = tokenizer.detokenize(together, lengths)
    for i, k in enumerate(lengths.tolist()):
        alone = tokenizer.detokenize(together[i : i + 1, :k])
        torch.testing.assert_close(mixed[i : i + 1], alone, atol=1e-5, rtol=0)
