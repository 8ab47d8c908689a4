from pathlib import Path

import pytest
import torch

from onedpiece.tokenizer import Tokenizer, TokenizerConfig, preset
from onedpiece.training.tokenizer_module import as_config, build_tokenizer
from onedpiece.weights import save


def test_preset_by_name_or_geometry(tokenizer_config: TokenizerConfig) -> None:
    assert as_config("ti-256") == preset("ti-256")
    assert build_tokenizer(tokenizer_config).config == tokenizer_config


def test_weights_to_start_from(tokenizer_config: TokenizerConfig, tmp_path: Path) -> None:
    saved = Tokenizer(tokenizer_config)
    save(saved, tmp_path)
    loaded = build_tokenizer(tokenizer_config, init_from=str(tmp_path))
    assert loaded.training
    assert torch.equal(loaded.latent_tokens, saved.latent_tokens.half().float())  # stored as float16


def test_weights_of_another_geometry_are_refused(tokenizer_config: TokenizerConfig, tmp_path: Path) -> None:
    save(Tokenizer(tokenizer_config), tmp_path)
    with pytest.raises(ValueError, match="another geometry"):
        build_tokenizer("ti-256", init_from=str(tmp_path))


def test_bundled_statistics_are_for_presets(tokenizer_config: TokenizerConfig) -> None:
    with pytest.raises(ValueError, match="presets"):
        build_tokenizer(tokenizer_config, statistics="bundled")


def test_bundled_statistics() -> None:
    tokenizer = build_tokenizer("ti-256", statistics="bundled")
    assert tokenizer.training
    assert not torch.equal(tokenizer.linear_path.scale, Tokenizer().linear_path.scale)  # type: ignore[union-attr]
