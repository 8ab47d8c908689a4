"""Model folders: round trip, shards, fingerprints, and damage that is named."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import onedpiece.weights
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.weights import WeightsError, fingerprint, load_tokenizer, read_config, save


@pytest.fixture(scope="module")
def small(small_config: Callable[..., TokenizerConfig]) -> TokenizerConfig:
    return small_config(num_tokens=12, fsq_grades=((12, (16, 16, 16)),))


@pytest.fixture
def folder(tmp_path: Path, small: TokenizerConfig) -> Path:
    torch.manual_seed(0)
    return save(Tokenizer(small), tmp_path / "model", shard_bytes=30_000)


def test_a_saved_tokenizer_comes_back_with_its_fingerprint(folder: Path, small: TokenizerConfig):
    tokenizer = load_tokenizer(folder)
    assert tokenizer.config == small
    assert not tokenizer.training
    assert fingerprint(tokenizer).hex() == read_config(folder)["fingerprint"]
    again = load_tokenizer(save(tokenizer, folder.parent / "again"))
    for name, tensor in tokenizer.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_shards_are_filled_up_to_the_limit_and_old_ones_go(folder: Path):
    sizes = [[tensor.nbytes for _, tensor in sorted(load_file(path).items())] for path in shards_of(folder)]
    assert len(sizes) > 2
    assert all(sum(shard) <= 30_000 or len(shard) == 1 for shard in sizes)
    assert all(sum(shard) + following[0] > 30_000 for shard, following in pairwise(sizes))
    save(load_tokenizer(folder), folder)
    assert len(shards_of(folder)) == 1
    assert not list(folder.glob(".*"))


@pytest.mark.slow
def test_the_bundled_model_is_cut_as_it_is_stored(tmp_path: Path):
    """In files of at most 16 MiB and a header, which every host of repositories takes."""
    bundled = Path(onedpiece.weights.__file__).parent / "ti-256"
    again = save(load_tokenizer(bundled), tmp_path / "again")
    assert [path.name for path in shards_of(again)] == [path.name for path in shards_of(bundled)]
    assert max(path.stat().st_size for path in shards_of(again)) < 17 * 2**20


def shards_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def test_any_change_changes_the_fingerprint(small: TokenizerConfig):
    torch.manual_seed(0)
    tokenizer = Tokenizer(small)
    before = fingerprint(tokenizer)
    with torch.no_grad():
        tokenizer.decoder.mask_token[0, 0, 3] += 1
    assert fingerprint(tokenizer) != before


def _break_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_damage_is_named(folder: Path):
    shard = sorted(folder.glob("*.safetensors"))[0]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(WeightsError, match="fingerprint"):
        load_tokenizer(folder)
    shard.write_bytes(whole[:100])
    with pytest.raises(WeightsError, match="do not load"):
        load_tokenizer(folder)
    shard.unlink()
    with pytest.raises(WeightsError, match="do not load"):
        load_tokenizer(folder)


def test_wrong_configs_are_named(folder: Path, tmp_path: Path, small: TokenizerConfig):
    with pytest.raises(WeightsError, match=r"config\.json"):
        read_config(tmp_path)
    _break_config(folder, tokenizer=small.to_dict() | {"width": 128})
    with pytest.raises(WeightsError, match="do not load"):
        load_tokenizer(folder)
    _break_config(folder, tokenizer={"depth": 1})
    with pytest.raises(WeightsError, match="depth"):
        load_tokenizer(folder)
    _break_config(folder, format=99)
    with pytest.raises(WeightsError, match="99"):
        load_tokenizer(folder)
    (folder / "config.json").write_text("no")
    with pytest.raises(WeightsError, match="not JSON"):
        read_config(folder)
