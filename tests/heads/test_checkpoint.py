from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from onedpiece.bitstream import Code
from onedpiece.heads import Head, HeadError, bundled_head, load_head, restamp, save_head
from onedpiece.tokenizer import Tokenizer
from onedpiece.weights import fingerprint

Make = Callable[..., Head]
TASKS = ("classify", "segment", "depth", "detect")
STAMP = b"\x01\x02\x03\x04"


@pytest.mark.parametrize("task", TASKS)
def test_a_file_says_what_the_head_said(task: str, make_head: Make, indices: Tensor, tmp_path: Path) -> None:
    head = make_head(task)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(parameter.half())  # as the file rounds
    loaded = load_head(save_head(head, tmp_path / "new" / "head.safetensors", STAMP, "six minutes"))
    assert loaded.head.config == head.config
    assert (loaded.fingerprint, loaded.note) == (STAMP, "six minutes")
    with torch.no_grad():
        for a, b in zip(head(indices), loaded.head(indices), strict=True):
            assert torch.allclose(a, b, atol=1e-6)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["head.safetensors"]


def test_a_learned_codebook_travels_along(
    vq_tokenizer: Tokenizer, make_head: Make, indices: Tensor, tmp_path: Path
) -> None:
    head = make_head("classify", vq_tokenizer)
    loaded = load_head(save_head(head, tmp_path / "a.safetensors", STAMP))
    assert torch.equal(loaded.head.backbone.codebook(indices), head.backbone.codebook(indices))


def test_codes_of_another_model_are_refused(make_head: Make, tmp_path: Path) -> None:
    loaded = load_head(save_head(make_head("classify"), tmp_path / "a.safetensors", STAMP))
    tokens = np.array([1, 2, 3])
    (same,) = loaded.predict(Code(tokens, 4096, STAMP))
    (bare,) = loaded.predict([torch.from_numpy(tokens)])
    assert same == bare
    with pytest.raises(HeadError, match="of model 61626364, the head reads codes of model 01020304"):
        loaded.predict([Code(tokens, 4096, STAMP), Code(tokens, 4096, b"abcd")])


def _trained_on(tokenizer: Tokenizer, part: str) -> Tokenizer:
    other = deepcopy(tokenizer)
    with torch.no_grad():
        other.get_parameter(part).add_(0.5)
    return other


def test_restamping_changes_the_stamp_alone(
    fsq_tokenizer: Tokenizer, make_head: Make, tmp_path: Path
) -> None:
    stamp = fingerprint(fsq_tokenizer)
    path = save_head(make_head("segment"), tmp_path / "a.safetensors", stamp, "kept")
    before, config = load_file(path), load_head(path).head.config
    newer = _trained_on(fsq_tokenizer, "decoder.decoder_embed.bias")
    restamp(path, fsq_tokenizer, newer)
    after = load_head(path)
    assert after.fingerprint == fingerprint(newer) != stamp
    assert (after.note, after.head.config) == ("kept", config)
    tensors = load_file(path)
    assert tensors.keys() == before.keys()
    assert all(torch.equal(tensors[name], before[name]) for name in before)
    with pytest.raises(HeadError, match=f"is for model {fingerprint(newer).hex()}, before is {stamp.hex()}"):
        restamp(path, fsq_tokenizer, newer)


def test_other_codes_are_not_restamped(fsq_tokenizer: Tokenizer, make_head: Make, tmp_path: Path) -> None:
    path = save_head(make_head("classify"), tmp_path / "a.safetensors", fingerprint(fsq_tokenizer))
    whole = path.read_bytes()
    with pytest.raises(HeadError, match=r"other codes: encoder\.patch_embed\.bias differ"):
        restamp(path, fsq_tokenizer, _trained_on(fsq_tokenizer, "encoder.patch_embed.bias"))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("damage", ["cut", "junk", "empty"])
def test_a_damaged_file_is_named(damage: str, make_head: Make, tmp_path: Path) -> None:
    path = save_head(make_head("classify"), tmp_path / "broken.safetensors", STAMP)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-5], "junk": b"junk" * 50, "empty": b""}[damage])
    with pytest.raises(HeadError, match=r"broken\.safetensors is damaged or no head"):
        load_head(path)


def test_loading_is_strict(make_head: Make, tmp_path: Path) -> None:
    path = save_head(make_head("classify"), tmp_path / "a.safetensors", STAMP)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    missing = dict(tensors)
    del missing["answer.logits.weight"]
    more = tensors | {"answer.more": torch.zeros(1)}
    other = tensors | {"answer.logits.bias": torch.zeros(7)}
    for state, word in ((missing, "logits.weight"), (more, "answer.more"), (other, "logits.bias")):
        save_file(state, path, metadata)
        with pytest.raises(HeadError, match=f"does not load: .*{word}"):
            load_head(path)
    save_file(tensors, path, metadata | {"config": '{"task": "classify", "colour": 1}'})
    with pytest.raises(HeadError, match=r"unknown field.*colour"):
        load_head(path)


def test_other_safetensors_are_no_heads(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(HeadError, match="format None; this onedpiece reads heads of format onedpiece-head-1"):
        load_head(path)
    with pytest.raises(FileNotFoundError):
        load_head(tmp_path / "nowhere.safetensors")


def test_a_fingerprint_has_four_bytes(make_head: Make, tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="5 bytes"):
        save_head(make_head("classify"), tmp_path / "a.safetensors", b"abcde")


def test_only_two_are_bundled() -> None:
    assert bundled_head("segment").name == "segment_camvid.safetensors"
    with pytest.raises(HeadError, match="no head for 'depth' is bundled; there are: classify, segment"):
        bundled_head("depth")
