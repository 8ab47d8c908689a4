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
from onedpiece.codec import Codec
from onedpiece.heads import (
    Head,
    HeadError,
    bundled_head,
    code_space_of,
    find_head,
    load_head,
    save_head,
    start_from,
)
from onedpiece.heads.checkpoint import bundled_tasks
from onedpiece.tokenizer import Tokenizer
from onedpiece.weights import fingerprint

Make = Callable[..., Head]
TASKS = ("classify", "segment", "depth", "detect")
SPACE = b"\x01\x02\x03\x04"


@pytest.mark.parametrize("task", TASKS)
def test_a_file_says_what_the_head_said(task: str, make_head: Make, indices: Tensor, tmp_path: Path) -> None:
    head = make_head(task)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(parameter.half())  # as the file rounds
    loaded = load_head(save_head(head, tmp_path / "new" / "head.safetensors", SPACE, "six minutes"))
    assert loaded.head.config == head.config
    assert (loaded.code_space, loaded.note) == (SPACE, "six minutes")
    assert (loaded.head.code_space, loaded.head.note) == (SPACE, "six minutes")
    with torch.no_grad():
        for a, b in zip(head(indices), loaded.head(indices), strict=True):
            assert torch.allclose(a, b, atol=1e-6)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["head.safetensors"]


def test_a_learned_codebook_travels_along(
    vq_tokenizer: Tokenizer, make_head: Make, indices: Tensor, tmp_path: Path
) -> None:
    head = make_head("classify", vq_tokenizer)
    loaded = load_head(save_head(head, tmp_path / "a.safetensors", SPACE))
    assert torch.equal(loaded.head.backbone.codebook(indices), head.backbone.codebook(indices))


def test_codes_of_another_model_are_refused(make_head: Make, tmp_path: Path) -> None:
    loaded = load_head(save_head(make_head("classify"), tmp_path / "a.safetensors", SPACE))
    tokens = np.array([1, 2, 3])
    (same,) = loaded.predict(Code(tokens, 4096, SPACE))
    (bare,) = loaded.predict([torch.from_numpy(tokens)])
    assert same == bare
    with pytest.raises(HeadError, match="of code space 61626364, the head reads code space 01020304"):
        loaded.predict([Code(tokens, 4096, SPACE), Code(tokens, 4096, b"abcd")])


@pytest.mark.parametrize("damage", ["cut", "junk", "empty"])
def test_a_damaged_file_is_named(damage: str, make_head: Make, tmp_path: Path) -> None:
    path = save_head(make_head("classify"), tmp_path / "broken.safetensors", SPACE)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-5], "junk": b"junk" * 50, "empty": b""}[damage])
    with pytest.raises(HeadError, match=r"broken\.safetensors is damaged or no head"):
        load_head(path)


def test_loading_is_strict(make_head: Make, tmp_path: Path) -> None:
    path = save_head(make_head("classify"), tmp_path / "a.safetensors", SPACE)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    missing = dict(tensors)
    del missing["task_head.logits.weight"]
    more = tensors | {"task_head.more": torch.zeros(1)}
    other = tensors | {"task_head.logits.bias": torch.zeros(7)}
    for state, word in ((missing, "logits.weight"), (more, "task_head.more"), (other, "logits.bias")):
        save_file(state, path, metadata)
        with pytest.raises(HeadError, match=f"does not load: .*{word}"):
            load_head(path)
    save_file(tensors, path, metadata | {"config": '{"task": "classify", "colour": 1}'})
    with pytest.raises(HeadError, match=r"unknown field.*colour"):
        load_head(path)


def test_other_safetensors_are_no_heads(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(HeadError, match="format None; this onedpiece reads heads of format onedpiece-head-3"):
        load_head(path)
    with pytest.raises(FileNotFoundError):
        load_head(tmp_path / "nowhere.safetensors")


def test_a_code_space_has_four_bytes(make_head: Make, tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="5 bytes"):
        save_head(make_head("classify"), tmp_path / "a.safetensors", b"abcde")


def test_a_head_starts_from_another_one(make_head: Make, tmp_path: Path) -> None:
    first = make_head("classify")
    save_head(first, tmp_path / "first.safetensors", b"abcd")
    same, other = (
        make_head("classify", classes=("cat", "dog", "house")),
        make_head("classify", classes=("a",)),
    )
    for head in (same, other):
        head.code_space = b"abcd"
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.zero_()
        start_from(head, str(tmp_path / "first.safetensors"))
        for name, tensor in head.backbone.state_dict().items():
            assert torch.allclose(tensor, first.backbone.state_dict()[name], atol=1e-2), name  # float16
    assert torch.allclose(same.task_head.logits.weight, first.task_head.logits.weight, atol=1e-3)
    assert not other.task_head.logits.weight.any()


def test_queries_are_interpolated_to_another_grid(make_head: Make, tmp_path: Path) -> None:
    first = make_head("segment", grid=2, linear_picture=True, codes=False)
    with torch.no_grad():  # a ramp from left to right
        first.backbone.queries.query_embedding.copy_(torch.tensor([0.0, 1.0, 0.0, 1.0])[:, None])
    path = save_head(first, tmp_path / "first.safetensors", b"abcd")
    head = make_head("segment", grid=4, linear_picture=True, codes=False)
    head.code_space = b"abcd"
    start_from(head, str(path))
    placed = head.backbone.queries.query_embedding.detach().unflatten(0, (4, 4))
    assert torch.allclose(placed[0], placed[3], atol=1e-6)
    row = placed[0, :, 0].tolist()
    assert row == sorted(row)
    assert row[1] + row[2] == pytest.approx(1)


def test_it_starts_from_no_head_of_another_shape_or_space(make_head: Make, tmp_path: Path) -> None:
    path = save_head(make_head("classify"), tmp_path / "first.safetensors", b"abcd")
    head = make_head("classify", width=16)
    head.code_space = b"abcd"
    with pytest.raises(
        HeadError, match=r"first\.safetensors cannot .* backbone.class_embedding is \(1, 32\), here"
    ):
        start_from(head, str(path))
    head.code_space = b"else"
    with pytest.raises(HeadError, match="its code space is 61626364, here it is 656c7365"):
        start_from(head, str(path))


def test_every_task_has_a_bundled_head() -> None:
    assert bundled_tasks() == ("classify", "segment", "detect", "depth")
    assert all(bundled_head(task).is_file() for task in bundled_tasks())
    with pytest.raises(HeadError, match="no head for 'paint' is bundled; there are: classify, segment"):
        bundled_head("paint")


def test_the_code_space_is_what_the_codec_names(fsq_tokenizer: Tokenizer) -> None:
    codec = Codec(fsq_tokenizer, fingerprint(fsq_tokenizer))
    assert code_space_of(codec) == codec.fingerprint
    other = deepcopy(fsq_tokenizer)
    with torch.no_grad():
        for parameter in other.decoder.parameters():
            parameter.add_(1)
    assert code_space_of(Codec(other, fingerprint(other))) == code_space_of(codec)


def test_a_folder_of_a_tasks_name_is_no_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("segment", "mine"):
        (tmp_path / name).mkdir()
    assert find_head("segment").head.config.task == "segment"
    with pytest.raises(HeadError, match="no head 'mine': it is no file, and the names are: classify"):
        find_head("mine")


def test_a_file_of_a_tasks_name_is_the_head(
    make_head: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_head(make_head("classify"), "segment", SPACE)
    assert find_head("segment").head.config.task == "classify"
