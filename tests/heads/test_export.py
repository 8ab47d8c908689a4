"""A head as an ONNX graph says what torch says, for any number of photos."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from onedpiece.cli.main import main
from onedpiece.errors import WeightsError
from onedpiece.heads import Head, HeadError, LoadedHead, export
from onedpiece.heads.export import export_head

pytestmark = pytest.mark.slow

Make = Callable[..., Head]
GROWS = {"grid": 4, "growth": 0.5, "linear_picture": True, "codes": False}


@pytest.mark.parametrize("task", ["classify", "segment", "depth", "detect"])
def test_every_task_at_a_count_of_its_own(
    task: str, make_head: Make, indices: Tensor, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    head = make_head(task, **GROWS)
    assert export_head(LoadedHead(head, b"abcd", ""), tmp_path / "head.onnx", 9) <= 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "head.onnx")
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["task"] == task
    assert metadata["code_space"] == "61626364"
    assert tuple(json.loads(metadata["classes"])) == head.config.classes
    with torch.no_grad():
        expected = head(indices[:, :9])
    found = session.run(list(expected._fields), {"tokens": indices[:, :9].numpy()})
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), atol=1e-4 * float(wanted.abs().max()))


def test_the_verb_writes_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    out = tmp_path / "classify_16.onnx"
    words = ["export", "--head", "classify", "--tokens", "16", str(out)]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 16 tokens to classify, within ")
    assert out.stat().st_size > 2e6
    assert main([*words, "--model", "ti-256"]) == 2
    assert "--head and --model both say what is exported" in capsys.readouterr().err
    assert main(["export", "--tokens", "16", str(out)]) == 2
    assert main(["export", "--head", "classify", "--tokens", "257", str(out)]) == 2
    assert "tokens is 257; this head reads 1 to 256" in capsys.readouterr().err


def test_code_tokens_too_and_no_count_beyond_the_code(make_head: Make, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    loaded = LoadedHead(make_head("classify", group=4), b"abcd", "")
    assert export_head(loaded, tmp_path / "head.onnx", 6) <= 1e-4
    with pytest.raises(HeadError, match="tokens is 17; this head reads 1 to 16"):
        export_head(loaded, tmp_path / "no.onnx", 17)
    assert not (tmp_path / "no.onnx").exists()


def test_a_graph_that_says_something_else_is_not_written(
    make_head: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "write_graph", lambda *args: args[5].write_bytes(b"a graph"))
    monkeypatch.setattr(export, "_difference", lambda *_: 0.01)
    with pytest.raises(WeightsError, match=r"the exported head differs from torch by 0\.01"):
        export_head(LoadedHead(make_head("classify"), b"abcd", ""), tmp_path / "head.onnx", 9)
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_not_replaced(make_head: Make, tmp_path: Path) -> None:
    code = tmp_path / "photo.odp"
    code.write_bytes(b"a code")
    with pytest.raises(HeadError, match=r"photo\.odp is there and is no \.onnx file; name another"):
        export_head(LoadedHead(make_head("classify"), b"abcd", ""), code, 6)
    assert code.read_bytes() == b"a code"
