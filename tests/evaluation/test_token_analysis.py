import pytest
import torch

from onedpiece.codec import Codec
from onedpiece.codec.tensors import to_tensor
from onedpiece.evaluation.photos import Photo
from onedpiece.evaluation.token_analysis import contribution_maps, first_token_clusters, marginal_gains


@pytest.fixture(scope="module")
def tokens(codec: Codec, photos: list[Photo]) -> torch.Tensor:
    return codec.tokenizer.tokenize(to_tensor([photo.image for photo in photos]))


def test_map_is_the_change_of_the_picture(codec: Codec, tokens: torch.Tensor) -> None:
    maps = contribution_maps(codec.tokenizer, tokens[:2], [0, 15])
    assert maps.shape == (2, 256, 256)
    swapped = tokens[:2].clone()
    swapped[:, 0] = tokens[[1, 0], 0]
    before, after = ((codec.tokenizer.detokenize(t) * 255).round() / 255 for t in (tokens[:2], swapped))
    torch.testing.assert_close(maps[0], (after - before).abs().mean((0, 1)))
    # The first token carries the lowest frequencies, the last the least.
    assert maps[0].mean() > maps[1].mean()


def test_equal_tokens_change_nothing(codec: Codec, tokens: torch.Tensor) -> None:
    twins = tokens[:1].expand(2, -1)
    assert not contribution_maps(codec.tokenizer, twins, [3]).any()


def test_what_cannot_be_swapped(codec: Codec, tokens: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="at least two photos"):
        contribution_maps(codec.tokenizer, tokens[:1], [0])
    with pytest.raises(ValueError, match="tokens 0 to 15"):
        contribution_maps(codec.tokenizer, tokens, [16])


def test_gains_add_up(codec: Codec, photos: list[Photo]) -> None:
    gains = marginal_gains(codec.tokenizer, to_tensor([photo.image for photo in photos]), [1, 4, 16])
    assert [gain.tokens for gain in gains] == [1, 4, 16]
    assert gains[0].per_token is None
    first, last = gains[0], gains[-1]
    assert gains[1].per_token is not None
    assert last.per_token is not None
    assert first.psnr + 3 * gains[1].per_token + 12 * last.per_token == pytest.approx(last.psnr)
    assert last.psnr > first.psnr


def test_clusters_keep_equal_first_tokens_together(codec: Codec, tokens: torch.Tensor) -> None:
    low, high = tokens[:1].clone(), tokens[:1].clone()
    low[0, 0], high[0, 0] = 0, 4095  # opposite corners of the lattice
    groups = first_token_clusters(codec.tokenizer, torch.cat([low, high, low, high, high]), 2).tolist()
    assert groups[0] == groups[2] != groups[1]
    assert groups[1] == groups[3] == groups[4]
