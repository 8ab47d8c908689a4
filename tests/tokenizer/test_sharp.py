"""The sharp network: what it sees, what it keeps of the faithful picture, and the dial between both."""

from collections.abc import Callable

import pytest
import torch

from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.tokenizer.pixel_heads import INPUT_CHANNELS, SharpNetwork, low_pass, network_input


@pytest.fixture(scope="module")
def tokenizer(small_config: Callable[..., TokenizerConfig]) -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(small_config(sharp_blocks=1)).eval()


def picture(size: int = 32, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(5))


def test_the_input_holds_the_whole_picture_and_the_count():
    x = picture()
    seen = network_input(x, torch.tensor([1, 256]))
    assert seen.shape == (2, INPUT_CHANNELS, 8, 8)
    quarter, lost = seen[:, :3], seen[:, 3:51]
    restored = torch.nn.functional.pixel_shuffle(lost + quarter.repeat_interleave(16, dim=1), 4)
    torch.testing.assert_close(restored, x)
    assert seen[0, 51].unique().tolist() == [0.0]  # log₂(1) / 8
    assert seen[1, 51].unique().tolist() == [1.0]  # log₂(256) / 8


def test_low_frequencies_stay_those_of_the_faithful_picture():
    network = SharpNetwork(blocks=1, width=8, growth=4)
    x = picture()
    with torch.no_grad():
        network.conv_last.bias.fill_(3.0)  # a network that makes everything white
        drawn = network(x, torch.tensor([64, 64]))
    torch.testing.assert_close(drawn.mean(dim=(2, 3)), x.mean(dim=(2, 3)), atol=0.02, rtol=0)


def test_the_gain_runs_from_one_token_to_256_by_their_logarithm():
    network = SharpNetwork(blocks=1, width=8, growth=4)
    x, counts = picture(batch=1).expand(3, -1, -1, -1), torch.tensor([1, 16, 256])
    with torch.no_grad():
        network.conv_first.weight[:, 51] = 0.0  # so that it draws the same whatever the count
        plain = network(x, counts) - x
        network.gain.copy_(torch.tensor([3.0, 1.0]))
        gained = network(x, counts) - x
    factors = torch.tensor([3.0, 2.0, 1.0]).view(-1, 1, 1, 1)  # log2(16) is half of log2(256)
    torch.testing.assert_close(gained, factors * plain, atol=1e-5, rtol=1e-5)
    assert plain.abs().max() > 0.1


def test_low_pass_of_a_flat_picture_is_itself():
    x = torch.full((1, 3, 16, 16), 0.3)
    torch.testing.assert_close(low_pass(x), x)


def test_the_dial_is_a_straight_line_from_faithful_to_sharp(tokenizer: Tokenizer):
    indices = tokenizer.tokenize(picture(tokenizer.config.image_size))
    faithful, half, sharp = (tokenizer.detokenize(indices, sharpness=s) for s in (0.0, 0.5, 1.0))
    assert torch.equal(faithful, tokenizer.detokenize(indices))
    assert (faithful - sharp).abs().max() > 0.01
    inside = (sharp > 0) & (sharp < 1) & (faithful > 0) & (faithful < 1)
    torch.testing.assert_close(half[inside], ((faithful + sharp) / 2)[inside], atol=1e-5, rtol=0)


def test_a_prefix_is_sharpened_as_of_so_many_tokens(tokenizer: Tokenizer):
    indices = tokenizer.tokenize(picture(tokenizer.config.image_size))[:, :4]
    with torch.no_grad():
        four = tokenizer.sharpen(tokenizer.detokenize(indices), torch.tensor([4, 4])).clamp(0, 1)
        all_of_them = tokenizer.sharpen(tokenizer.detokenize(indices), torch.tensor([16, 16])).clamp(0, 1)
    torch.testing.assert_close(tokenizer.detokenize(indices, sharpness=1.0), four)
    assert (four - all_of_them).abs().max() > 1e-4


def test_a_flat_picture_stays_flat_at_every_sharpness(tokenizer: Tokenizer):
    size = tokenizer.config.image_size
    flat = torch.full((1, 3, size, size), 0.5)
    drawn = tokenizer.sharpen(flat, torch.tensor([8]))
    assert torch.equal(drawn, flat)


def test_pictures_end_at_black_and_white(tokenizer: Tokenizer):
    # The first tokens' largest coefficients together are far more than a picture has.
    indices = torch.full((1, 16), 4095)
    linear, faithful = tokenizer.detokenize_linear(indices), tokenizer.detokenize(indices)
    sharp = tokenizer.detokenize(indices, sharpness=1.0)
    assert all((float(each.min()), float(each.max())) == (0, 1) for each in (linear, faithful, sharp))


def test_a_tokenizer_without_the_network_refuses(small_config: Callable[..., TokenizerConfig]):
    plain = Tokenizer(small_config())
    with pytest.raises(ValueError, match="sharp_blocks"):
        plain.sharpen(picture(plain.config.image_size), torch.tensor([8, 8]))


def test_a_square_that_was_cut_out_is_damped_as_in_the_whole(small_config: Callable[..., TokenizerConfig]):
    class White(torch.nn.Module):
        def forward(self, faithful: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
            return faithful + 1.0

    plain = Tokenizer(small_config(image_size=128, linear_size=32, sharp_blocks=1))
    plain.sharp = White()
    x, count = picture(128), torch.tensor([8, 8])
    x[..., :64] *= 0.1  # so that the activity is not the same everywhere
    whole, cut = (plain.sharpen(part, count) - part for part in (x, x[..., 16:112, 16:112]))
    # Inside, borders are 8 of the linear picture's pixels away, of 4 pixels each.
    torch.testing.assert_close(cut[..., 40:56, 40:56], whole[..., 56:72, 56:72])
    assert whole.std() > 0.01
    assert 0.99 < whole.max() < 1.0001  # of what was drawn into the picture, 1, nearly all where it is busy


@pytest.mark.parametrize("sharpness", [-0.1, 1.5, float("nan")])
def test_a_sharpness_out_of_range_is_refused(tokenizer: Tokenizer, sharpness: float):
    indices = tokenizer.tokenize(picture(tokenizer.config.image_size))
    with pytest.raises(ValueError, match="sharpness"):
        tokenizer.detokenize(indices, sharpness=sharpness)


def test_real_esrgans_names_and_shapes_are_ours():
    names = {name: tuple(p.shape) for name, p in SharpNetwork(blocks=23).named_parameters()}
    # 23 blocks × 3 dense blocks × 5 convolutions, and 6 around them, each with a bias.
    assert len(names) == 2 * (23 * 3 * 5 + 6)
    assert names["body.22.rdb3.conv5.weight"] == (64, 192, 3, 3)
    assert names["conv_first.weight"] == (64, 52, 3, 3)
    assert sum(p.numel() for p in SharpNetwork(blocks=23).parameters()) == 16_697_987 + 49 * 64 * 9
