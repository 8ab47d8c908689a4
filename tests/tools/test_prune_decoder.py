from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.tokenizer.transformer import MLP
from onedpiece.weights import load_tokenizer, save
from tools import prune_decoder


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def moments(mlp: MLP, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    seen = torch.nn.functional.gelu(mlp.c_fc(x))
    seen = torch.cat([seen, torch.ones(len(x), 1)], 1).double()
    return seen.T @ seen / len(x), seen.T @ mlp(x).double() / len(x)


def test_channels_that_say_what_others_say_go_and_nothing_is_lost() -> None:
    torch.manual_seed(0)
    mlp, x = MLP(6, 5), torch.randn(500, 6)
    for each in (mlp.c_fc.weight, mlp.c_fc.bias):
        each[3] = each[1]  # twice the same: either can stand for both
    small, missed = prune_decoder.prune_mlp(mlp, *moments(mlp, x), 4)
    assert small.c_fc.out_features == 4
    assert abs(missed) < 1e-4
    torch.testing.assert_close(small(x), mlp(x), atol=2e-3, rtol=0)
    fewer, more = prune_decoder.prune_mlp(mlp, *moments(mlp, x), 3)
    assert fewer.c_fc.out_features == 3
    assert more > 10 * abs(missed)


def test_the_channels_kept_are_those_that_miss_least() -> None:
    torch.manual_seed(1)
    mlp, x = MLP(6, 5), torch.randn(500, 6)
    mlp.c_proj.weight[:, 2] = 0  # nobody listens to it
    mlp.c_proj.weight[:, 4] *= 1e-3
    small, missed = prune_decoder.prune_mlp(mlp, *moments(mlp, x), 3)
    assert torch.equal(small.c_fc.weight, mlp.c_fc.weight[[0, 1, 3]])
    assert missed < 1e-4


def test_the_folder_loads_and_draws_nearly_the_same(
    small_config: Callable[..., TokenizerConfig],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.manual_seed(0)
    whole = Tokenizer(small_config(decoder_layers=2, decoder_hidden=48)).eval()
    folder = save(whole, tmp_path / "whole")
    words = [str(data / f"{name}.png") for name in ("chelsea", "coffee", "rocket")]
    words = [str(folder), *words, "--photos", "3", "--out", str(tmp_path / "small")]
    assert prune_decoder.main([*words, "--hidden", "40"]) == 0
    assert "block 2 of 2: misses" in capsys.readouterr().out
    small = load_tokenizer(tmp_path / "small")
    assert small.config.decoder_hidden == 40
    assert [block.mlp.c_fc.out_features for block in small.decoder.transformer] == [40, 40]
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    indices = whole.tokenize(x)
    assert torch.equal(small.tokenize(x), indices)
    torch.testing.assert_close(
        small.detokenize(indices), load_tokenizer(folder).detokenize(indices), atol=0.02, rtol=0
    )
    for hidden in ("0", "48"):
        assert prune_decoder.main([*words, "--hidden", hidden]) == 2
        assert "has 48 channels in an MLP; --hidden is to be 1 to 47" in capsys.readouterr().err
