"""Model folders: round trip, shards, fingerprints, and damage that is named."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import onedpiece.weights
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.weights import WeightsError, fingerprint, load_tokenizer, read_config, save
from onedpiece.weights.checkpoint import weights_digest
from onedpiece.weights.identity import identify


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


def test_a_tensor_past_the_limit_has_a_file_of_its_own(tmp_path: Path, small: TokenizerConfig):
    tokenizer = Tokenizer(small)
    each = shards_of(save(tokenizer, tmp_path / "model", shard_bytes=1))
    assert [len(load_file(path)) for path in each] == [1] * len(tokenizer.state_dict())  # and no empty one


@pytest.mark.slow
def test_the_bundled_model_is_cut_as_it_is_stored(tmp_path: Path):
    """In files of at most 16 MiB and a header, which every host of repositories takes."""
    bundled = Path(onedpiece.weights.__file__).parent / "ti-256"
    again = save(load_tokenizer(bundled), tmp_path / "again")
    assert [path.name for path in shards_of(again)] == [path.name for path in shards_of(bundled)]
    assert max(path.stat().st_size for path in shards_of(again)) < 17 * 2**20


def shards_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def test_any_change_changes_the_digest(small: TokenizerConfig):
    torch.manual_seed(0)
    tokenizer = Tokenizer(small)
    seen = [weights_digest(tokenizer)]
    for _, tensor in sorted(tokenizer.state_dict().items()):
        with torch.no_grad():
            tensor[(-1,) * tensor.ndim] += 1
        seen.append(weights_digest(tokenizer))
    assert len(set(seen)) == len(seen)
    other = Tokenizer(replace(small, default_sharpness=0.5))
    assert weights_digest(other) != seen[0]


def test_the_fingerprint_is_that_of_the_code_space(small: TokenizerConfig):
    torch.manual_seed(0)
    tokenizer = Tokenizer(small)
    before = fingerprint(tokenizer)
    with torch.no_grad():
        for module in (tokenizer.encoder, tokenizer.decoder):
            for parameter in module.parameters():
                parameter.add_(1)
    assert fingerprint(tokenizer) == before
    assert fingerprint(Tokenizer(replace(small, encoder_layers=0, sharp_blocks=1, width=128))) == before
    assert tokenizer.linear_path is not None
    tokenizer.linear_path.centroids[3] += 1
    assert fingerprint(tokenizer) != before
    assert fingerprint(Tokenizer(replace(small, fsq_grades=((12, (15, 15, 17)),)))) != before


@pytest.mark.parametrize("linear_path", [True, False])
def test_what_gives_tokens_a_meaning_makes_the_code_space(small: TokenizerConfig, linear_path: bool):
    """Without a DCT path the encoder does, and belongs to it."""
    torch.manual_seed(0)
    tokenizer = Tokenizer(replace(small, linear_path=linear_path))
    before = fingerprint(tokenizer)
    assert tokenizer.encoder is not None
    with torch.no_grad():
        next(tokenizer.encoder.parameters()).add_(1)
    assert (fingerprint(tokenizer) == before) == linear_path


def _break_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_damage_is_named(folder: Path):
    shard = sorted(folder.glob("*.safetensors"))[0]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(WeightsError, match=r"have digest [0-9a-f]{16}, config\.json says [0-9a-f]{16}"):
        load_tokenizer(folder)
    shard.write_bytes(whole[:100])
    with pytest.raises(WeightsError, match="do not load"):
        load_tokenizer(folder)
    shard.unlink()
    with pytest.raises(WeightsError, match="do not load"):
        load_tokenizer(folder)


def test_the_sharp_network_may_be_left_out(tmp_path: Path, small: TokenizerConfig):
    torch.manual_seed(0)
    whole = Tokenizer(replace(small, sharp_blocks=1))
    folder = save(whole, tmp_path / "sharp")
    plain, codec = load_tokenizer(folder, sharp=False), onedpiece.load(folder, sharp=False)
    assert plain.config == codec.tokenizer.config == small
    assert plain.sharp is None
    saved = load_tokenizer(folder).state_dict()
    assert {name for name in saved if not name.startswith("sharp.")} == set(plain.state_dict())
    assert all(torch.equal(tensor, saved[name]) for name, tensor in plain.state_dict().items())
    assert fingerprint(plain) == codec.fingerprint == fingerprint(whole)


def test_the_notice_of_the_sharp_network_goes_with_it(tmp_path: Path, small: TokenizerConfig):
    plain = save(Tokenizer(small), tmp_path / "plain")
    sharp = save(Tokenizer(replace(small, sharp_blocks=1)), tmp_path / "sharp")
    assert not list(plain.glob("LICENSE*"))
    assert "Copyright (c) 2021, Xintao Wang" in (sharp / "LICENSE-Real-ESRGAN.txt").read_text()


def test_weights_stored_wider_load_without_the_sharp_network(tmp_path: Path, small: TokenizerConfig):
    folder = save(Tokenizer(replace(small, sharp_blocks=1)), tmp_path / "sharp")
    (path,) = shards_of(folder)
    wide = {
        name: each.float() if each.is_floating_point() else each for name, each in load_file(path).items()
    }
    save_file(wide, path)
    assert load_tokenizer(folder).sharp is not None
    assert load_tokenizer(folder, sharp=False).sharp is None


def test_damage_of_what_is_left_out_is_named(tmp_path: Path, small: TokenizerConfig):
    folder = save(Tokenizer(replace(small, sharp_blocks=1)), tmp_path / "sharp")
    (path,) = shards_of(folder)
    state = load_file(path)
    state["sharp.conv_last.weight"][0, 0, 0, 0] += 1
    save_file(state, path)
    with pytest.raises(WeightsError, match="have digest"):
        load_tokenizer(folder, sharp=False)


def test_statistics_that_are_others_are_named(folder: Path, small: TokenizerConfig):
    """A damaged code space is said to be one: every file would be misread."""
    path = next(path for path in shards_of(folder) if "linear_path.scale" in load_file(path))
    state = load_file(path)
    state["linear_path.scale"][0] *= 2
    save_file(state, path)
    with pytest.raises(WeightsError, match=r"have fingerprint [0-9a-f]{8}, config\.json says [0-9a-f]{8}"):
        load_tokenizer(folder)


def test_what_is_no_folder_of_weights_is_named(folder: Path):
    with pytest.raises(WeightsError, match=r"config\.json is a file; name the model's folder"):
        onedpiece.weights.load(folder / "config.json")
    (folder / "decoder.onnx").touch()
    with pytest.raises(WeightsError, match="is an exported model, and this takes the model that it is of"):
        read_config(folder)


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


def test_a_models_identity_is_what_its_folder_states(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder.parent)
    card = read_config(folder)
    # A folder's name says nothing elsewhere; its path does.
    assert identify("model") == (str(folder.resolve()), card["fingerprint"], card["digest"], 12)
    assert identify().name == "ti-256"
    for changes in ({"tokenizer": {}}, {"tokenizer": {"num_tokens": "many"}}, {"tokenizer": None}):
        _break_config(folder, **changes)
        with pytest.raises(WeightsError, match="is damaged"):
            identify("model")
