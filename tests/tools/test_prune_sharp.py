from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.tokenizer.pixel_heads import SharpNetwork
from onedpiece.weights import load_tokenizer, save
from tools import prune_sharp

WIDTH = 6


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def network(growth: int) -> SharpNetwork:
    torch.manual_seed(0)
    return SharpNetwork(2, WIDTH, growth).eval()


def silence(whole: SharpNetwork, channels: list[int]) -> None:
    """Let nothing look at these channels of what each convolution of a dense block adds."""
    for block in (each for rrdb in whole.body for each in rrdb.children()):
        convs = [each for each in block.children() if isinstance(each, nn.Conv2d)]
        for conv in convs:
            grown = conv.weight[:, WIDTH:].unflatten(1, (-1, 4))
            grown[:, :, channels] = 0


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(12, 3, 64, 64, generator=generator), torch.full((12,), 32)


def test_channels_that_nothing_looks_at_go_and_nothing_is_lost() -> None:
    whole, small = network(4), network(2)
    silence(whole, [1, 2])
    x = pictures()
    errors = list(prune_sharp.prune(whole, small, *x))
    assert len(errors) == 2
    assert max(errors) < 1e-6
    kept = [0, 3]
    first, pruned = whole.body[0].rdb1.conv1, small.body[0].rdb1.conv1
    torch.testing.assert_close(pruned.weight, first.weight[kept], atol=2e-3, rtol=0)
    torch.testing.assert_close(small(*x), whole(*x), atol=1e-3, rtol=0)


def test_what_is_lost_is_little_and_less_of_more() -> None:
    whole = network(4)
    off = [list(prune_sharp.prune(whole, network(growth), *pictures()))[-1] for growth in (1, 3)]
    assert off[1] < off[0] < 0.01


def test_a_fit_of_fewer_channels_beats_the_network_without_them() -> None:
    whole, small, x = network(4), network(2), pictures()
    list(prune_sharp.prune(whole, small, *x))
    fitted = (small(*x) - whole(*x)).square().mean()
    silence(whole_without := network(4), [2, 3])
    assert fitted < 0.5 * (whole_without(*x) - whole(*x)).square().mean()


def test_the_folder_loads_and_its_tokens_are_the_same(
    small_config: Callable[..., TokenizerConfig],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.manual_seed(0)
    whole = Tokenizer(small_config(sharp_blocks=2, sharp_growth=3)).eval()
    folder = save(whole, tmp_path / "whole")
    words = [str(folder), str(data / "chelsea.png"), str(data / "coffee.png"), "--photos", "2", "--last", "1"]
    assert prune_sharp.main([*words, "--growth", "1", "--out", str(tmp_path / "small")]) == 0
    assert "block 2 of 2: off by 0.00%" in capsys.readouterr().out
    small = load_tokenizer(tmp_path / "small")
    assert small.config.sharp_growth == (1, 3)
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    indices = whole.tokenize(x)
    assert torch.equal(small.tokenize(x), indices)
    assert torch.equal(small.detokenize(indices), load_tokenizer(folder).detokenize(indices))
    assert not torch.equal(small.detokenize(indices, sharpness=1.0), small.detokenize(indices))
    for more in (("--growth", "0"), ("--growth", "3"), ("--growth", "1", "--last", "2")):
        assert prune_sharp.main([*words, *more, "--out", str(tmp_path / "none")]) == 2
        assert "its sharp network has 2 blocks of 3 channels; --growth is to" in capsys.readouterr().err
