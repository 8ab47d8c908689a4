"""The maintainers' tools about heads run, on next to nothing."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

pytest.importorskip("pyarrow")

from onedpiece.codec import Codec
from onedpiece.heads import HeadConfig, LoadedHead, build_head, save_head
from onedpiece.training.codes import DepthScenes
from onedpiece.training.codes.cache_file import read_metadata

Tool = Callable[[str], ModuleType]


@pytest.fixture
def codec(small_codec: Callable[..., Codec]) -> Codec:
    grades = ((64, (16, 16, 16)),)
    return small_codec(b"\x01\x02\x03\x04", num_tokens=64, linear_size=32, fsq_grades=grades)


@pytest.fixture
def tools(tool: Tool, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> Tool:
    monkeypatch.setattr("onedpiece.weights.load", lambda name=None, device="cpu": codec)
    return tool


@pytest.fixture
def caches(tools: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = tools("make_codes")
    monkeypatch.setattr(module, "DepthScenes", lambda: DepthScenes(2, 2, 32))
    module.main(["scenes", "--out", str(tmp_path / "codes"), "--variants", "plain"])
    return tmp_path / "codes"


def test_codes_are_made_once(tools: Tool, caches: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tools("make_codes").main(["scenes", "--out", str(caches), "--variants", "plain"])
    assert capsys.readouterr().out == f"{caches}/scenes.parquet: 0.0 MiB\n"
    assert read_metadata(caches / "scenes.parquet").code_space == "01020304"


def test_a_classifier_of_more_classes_answers_among_the_sets_own(tools: Tool, codec: Codec) -> None:
    among = tools("score_heads").among
    head = build_head(HeadConfig(classes=("a", "b", "c"), width=32, layers=1, heads=1), codec.tokenizer)
    loaded = LoadedHead(head.eval(), codec.fingerprint, "")
    assert among(loaded, ("a", "b", "c")) is loaded
    indices = torch.randint(16**3, (2, 64))
    with torch.no_grad():
        all_logits, some = head(indices).logits, among(loaded, ("c", "a")).head(indices).logits
    assert torch.equal(some, all_logits[:, [2, 0]])
    assert among(loaded, ("c", "a")).head.config.classes == ("c", "a")


def test_heads_of_other_tasks_are_scored_and_drawn(
    tools: Tool, codec: Codec, caches: Path, tmp_path: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    config = HeadConfig(task="depth", width=32, layers=1, heads=1, grid=4)
    head = build_head(config, codec.tokenizer)
    path = save_head(head, tmp_path / "depth.safetensors", codec.fingerprint)
    readme = tmp_path / "README.md"
    readme.write_text("<!-- begin: scores -->\n<!-- end: scores -->\n")
    words = ["--shared", str(shared), "--caches", str(caches), "--head", str(path)]
    tools("score_heads").main([*words, "--draw", str(tmp_path / "drawn"), "--write", str(readme)])
    line = readme.read_text().splitlines()[3]
    assert line in capsys.readouterr().out
    # The head and its size; scores at 8 to 64 tokens, all that this model has; two times and their ratio.
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[0].endswith("`: rendered scenes, AbsRel % ↓")
    assert len(cells) == 2 + 4 + 3
    assert float(cells[-1]) == pytest.approx(float(cells[-3]) / float(cells[-2]), abs=0.1)
    drawn = list((tmp_path / "drawn" / "depth").iterdir())
    assert len(drawn) == 2 * 3  # two photos at 16, 64 and (as many as there are) 256 tokens
