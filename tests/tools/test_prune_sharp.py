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


def assembled(whole: SharpNetwork, blocks: list[prune_sharp.Pruned]) -> SharpNetwork:
    small = SharpNetwork(2, WIDTH, [block.growth for block in blocks]).eval()
    around = {name: each for name, each in whole.state_dict().items() if not name.startswith("body.")}
    small.load_state_dict(around, strict=False)
    for own, block in zip(small.body, blocks, strict=True):
        own.load_state_dict(block.rrdb.state_dict())
    return small


def test_channels_that_nothing_looks_at_go_and_nothing_is_lost() -> None:
    whole = network(4)
    silence(whole, [1, 2])
    x = pictures()
    blocks = list(prune_sharp.prune(whole, [1, 2, 3], 1e-6, *x))
    assert [block.growth for block in blocks] == [2, 2]
    assert max(block.off for block in blocks) < 1e-6
    first, pruned = whole.body[0].rdb1.conv1, blocks[0].rrdb.rdb1.conv1
    torch.testing.assert_close(pruned.weight, first.weight[[0, 3]], atol=2e-3, rtol=0)
    torch.testing.assert_close(assembled(whole, blocks)(*x), whole(*x), atol=1e-3, rtol=0)


def test_a_block_has_as_many_channels_as_its_limit_takes() -> None:
    whole, x = network(4), pictures()
    found = {growth: list(prune_sharp.prune(whole, [growth], 1.0, *x)) for growth in (1, 2, 3)}
    off = [[block.off for block in found[growth]] for growth in (1, 2, 3)]
    assert off[0][0] > off[1][0] > off[2][0] > 0
    between = (off[0][0] + off[1][0]) / 2
    assert next(prune_sharp.prune(whole, [1, 2, 3], between, *x)).growth == 2
    blocks = list(prune_sharp.prune(whole, [1, 2, 3], 0.0, *x))  # nothing is near enough: all stays as it is
    assert [(block.growth, block.off) for block in blocks] == [(4, 0.0), (4, 0.0)]
    assert torch.equal(assembled(whole, blocks)(*x), whole(*x))


def test_a_fit_of_fewer_channels_beats_the_network_without_them() -> None:
    whole, x = network(4), pictures()
    small = assembled(whole, list(prune_sharp.prune(whole, [2], 1.0, *x)))
    fitted = (small(*x) - whole(*x)).square().mean()
    silence(without := network(4), [2, 3])
    assert fitted < 0.5 * (without(*x) - whole(*x)).square().mean()


def test_maps_at_full_resolution_lose_what_nothing_looks_at() -> None:
    whole, x = network(4), pictures()
    small = SharpNetwork(2, WIDTH, 4, fine=4).eval()
    own = small.state_dict()
    own |= {name: each for name, each in whole.state_dict().items() if own[name].shape == each.shape}
    small.load_state_dict(own)
    prune_sharp.prune_fine(whole, small, *x)
    lossy = (small(*x) - whole(*x)).square().mean()
    whole.conv_hr.weight[:, [1, 3]] = 0
    whole.conv_last.weight[:, [0, 2]] = 0
    small.load_state_dict(own | {"conv_up1.weight": whole.conv_up1.weight})
    prune_sharp.prune_fine(whole, small, *x)
    torch.testing.assert_close(small.conv_up2.weight, whole.conv_up2.weight[[0, 2, 4, 5]])
    torch.testing.assert_close(small(*x), whole(*x), atol=1e-3, rtol=0)
    assert lossy > 1e3 * (small(*x) - whole(*x)).square().mean()


def test_the_folder_loads_and_its_tokens_are_the_same(
    small_config: Callable[..., TokenizerConfig],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.manual_seed(0)
    whole = Tokenizer(small_config(sharp_blocks=2, sharp_growth=3)).eval()
    folder = save(whole, tmp_path / "whole")
    words = [str(data / "chelsea.png"), str(data / "coffee.png"), "--photos", "2", "--off", "1"]
    words += ["--fine", "40", "--out", str(tmp_path / "small")]
    assert prune_sharp.main([str(folder), *words, "--growth", "2,1"]) == 0
    assert "block 2 of 2: 1 channels, off by" in capsys.readouterr().out
    small = load_tokenizer(tmp_path / "small")
    assert (small.config.sharp_growth, small.config.sharp_fine) == ((1, 1), 40)
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    indices = whole.tokenize(x)
    assert torch.equal(small.tokenize(x), indices)
    assert torch.equal(small.detokenize(indices), load_tokenizer(folder).detokenize(indices))
    assert not torch.equal(small.detokenize(indices, sharpness=1.0), small.detokenize(indices))
    assert prune_sharp.main([str(folder), *words, "--growth", "2,1", "--blocks", "1"]) == 0
    assert load_tokenizer(tmp_path / "small").config.sharp_growth == (1, 3)
    none = save(Tokenizer(small_config()), tmp_path / "none")
    assert prune_sharp.main([str(none), *words]) == 2
    assert "none has no sharp network" in capsys.readouterr().err
    assert prune_sharp.main([str(folder), *words, "--growth", "0"]) == 2
    assert "--growth: at least 1 channel" in capsys.readouterr().err
