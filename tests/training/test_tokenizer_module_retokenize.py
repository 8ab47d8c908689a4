"""Training an encoder that merges patches: it learns, and any codec loads what it leaves."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from onedpiece.retokenize import trace
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.training.cli import main
from onedpiece.training.tokenizer_module import TokenReductionConfig, reduce_tokens
from onedpiece.weights import load_tokenizer, save


@pytest.fixture
def tokenizer(small_config: Callable[..., TokenizerConfig]) -> Tokenizer:
    torch.manual_seed(0)
    grades = ((8, (16, 16, 16)),)
    return Tokenizer(small_config(image_size=64, num_tokens=8, encoder_layers=3, fsq_grades=grades))


def test_nothing_is_merged_by_default(tokenizer: Tokenizer) -> None:
    reduce_tokens(tokenizer, TokenReductionConfig())
    assert not hasattr(tokenizer, "remove")


def test_the_share_is_left(tokenizer: Tokenizer) -> None:
    reduce_tokens(tokenizer, TokenReductionConfig("tome", 0.25))
    # 64 patches lose 64·0.75 / 3 = 16 in each of 3 layers
    assert trace(tokenizer, torch.rand(1, 3, 64, 64)).states[-1].x.shape[1] == 1 + 16 + 8


def test_the_encoder_learns_and_an_ordinary_codec_loads_it(
    tokenizer: Tokenizer, tmp_path: Path, data: Path
) -> None:
    save(tokenizer, tmp_path / "start")
    config = {
        "trainer": {"accelerator": "cpu", "devices": 1, "default_root_dir": str(tmp_path / "run")},
        "model": {
            "tokenizer": tokenizer.config.to_dict(),
            "init_from": str(tmp_path / "start"),
            "token_reduction": {"name": "mctf", "keep_ratio": 0.5},
            "train_parts": ["encoder"],
            "schedule": {"steps": 3, "warmup": 0},
            "ema_decay": 0,
        },
        "data": {
            "class_path": "onedpiece.training.data.FolderData",
            "init_args": {"path": str(data), "size": 64, "batch": 2, "workers": 0, "val_share": 0},
        },
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    main(["fit", f"--config={path}"])
    before, after = (load_tokenizer(tmp_path / name) for name in ("start", "run/weights"))
    assert list(before.state_dict()) == list(after.state_dict())
    assert not torch.equal(before.encoder.conv_out.weight, after.encoder.conv_out.weight)
    assert torch.equal(before.decoder.ln_pre.weight, after.decoder.ln_pre.weight)


def test_mistakes_are_named(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"token_reduction\.keep_ratio is 0; give the share of patches"):
        TokenReductionConfig("tome", 0)
    with pytest.raises(ValueError, match="slimming, whose weights no codec would load"):
        TokenReductionConfig("slimming")
    with pytest.raises(ValueError, match="pruning leaves no fixed part of the tokens"):
        reduce_tokens(tokenizer, TokenReductionConfig("pruning"))
