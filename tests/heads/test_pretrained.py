"""Heads as Hugging Face's habits have them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from onedpiece import Code, Head
from onedpiece.heads import HeadError, load_head, save_head
from onedpiece.tokenizer import Tokenizer
from onedpiece.weights import fingerprint

huggingface_hub = pytest.importorskip("huggingface_hub")
Make = Callable[..., Head]


@pytest.mark.parametrize("task", ["classify", "segment", "depth", "detect"])
def test_a_round_trip_gives_equal_files(task: str, make_head: Make, indices: Tensor, tmp_path: Path) -> None:
    head = make_head(task)
    head.note = "six minutes"
    head.save_pretrained(tmp_path / "a" / "m", model_card_kwargs={"metrics": {"accuracy": 0.7}})
    again = Head.from_pretrained(tmp_path / "a" / "m")
    assert (again.code_space, again.note, again.config) == (head.code_space, "six minutes", head.config)
    again.save_pretrained(tmp_path / "b" / "m", model_card_kwargs={"metrics": {"accuracy": 0.7}})
    for path in (tmp_path / "a" / "m").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / "m" / path.name).read_bytes(), path.name
    assert {path.name for path in (tmp_path / "b" / "m").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
    }
    loaded = load_head(save_head(head, tmp_path / "head.safetensors", head.code_space))
    with torch.no_grad():
        for a, b in zip(again(indices), loaded.head(indices), strict=True):
            assert torch.equal(a, b)


def test_other_tools_read_the_folder(make_head: Make, tmp_path: Path) -> None:
    head = make_head("segment")
    head.save_pretrained(tmp_path, model_card_kwargs={"metrics": {"miou": 0.21}, "dataset": "CamVid"})
    fresh = Head(head.config)
    result = huggingface_hub.load_torch_model(fresh, tmp_path, strict=True)
    assert not result.missing_keys
    card = huggingface_hub.ModelCard.load(tmp_path / "README.md")
    assert card.data.pipeline_tag == "image-segmentation"
    assert card.data.eval_results[0].metric_value == 0.21


def test_the_code_space_is_known_and_checked(
    fsq_tokenizer: Tokenizer, make_head: Make, tmp_path: Path
) -> None:
    head = make_head("classify")
    assert head.code_space == fingerprint(fsq_tokenizer)
    head.save_pretrained(tmp_path)
    tokens = np.array([1, 2, 3])
    loaded = Head.from_pretrained(tmp_path)
    loaded.predict(Code(tokens, 4096, head.code_space))
    with pytest.raises(HeadError, match="of code space 61626364"):
        loaded.predict(Code(tokens, 4096, b"abcd"))
    head.code_space = None
    with pytest.raises(HeadError, match=r"Set head\.code_space"):
        head.save_pretrained(tmp_path)


def test_damage_is_named(make_head: Make, tmp_path: Path) -> None:
    make_head("classify").save_pretrained(tmp_path)
    whole = json.loads((tmp_path / "config.json").read_text())
    changes = {
        "digest": ("0", "are not those that config.json was written with"),
        "format": ("other", "has format 'other'"),
        "code_space": ("zz", "does not load"),
    }
    for field, (value, message) in changes.items():
        (tmp_path / "config.json").write_text(json.dumps(whole | {field: value}))
        with pytest.raises(HeadError, match=message):
            Head.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(HeadError, match="is no folder of a head"):
        Head.from_pretrained(tmp_path)


def test_bundled_heads_have_names() -> None:
    assert Head.from_pretrained("classify").config.task == "classify"
    with pytest.raises(HeadError, match="bundled are: classify, segment, detect, depth"):
        Head.from_pretrained("nothing")


def test_the_hub_is_asked_by_owner_and_name(
    make_head: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_head("classify").save_pretrained(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    assert Head.from_pretrained("someone/head", revision="v1").config.task == "classify"
