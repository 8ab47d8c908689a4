"""The bench of exported models, on a process that does next to nothing."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Load = Callable[[str], ModuleType]


def test_the_table_holds_the_least_of_each(
    tool: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = tool("bench_onnx")
    runs = iter([[0.1] * 7, [0.1] * 7, [0.5] * 7, [2.0] * 7, [0.4] * 7, [3.0] * 7])  # two to warm up
    asked: list[tuple[str, str]] = []

    def measure(python: str, model: str, compiled: str) -> list[float]:
        assert Path(compiled).parent.is_dir()
        asked.append((python, model))
        return next(runs)

    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(module, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text("<!-- begin: onnx -->\n<!-- end: onnx -->\n")
    assert module.main([str(tmp_path / "m.onnx"), "--python", "bare", "--rounds", "2", "--update"]) == 0
    assert asked == 3 * [("bare", str(tmp_path / "m.onnx")), (sys.executable, "")]
    assert capsys.readouterr().out.count("| 0.40 | 2.00 | 5 |") == len(module.STEPS)
    assert "| import and load | 0.40 | 2.00 | 5 |" in (tmp_path / "README.md").read_text()


@pytest.mark.slow
def test_a_process_is_timed_step_by_step(tool: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tool("bench_onnx")
    done = "print(0.25); print(0.5); print(0)"
    monkeypatch.setattr(module, "SCRIPT", done)
    assert module.measure(sys.executable, "", str(tmp_path)) == [0.25, 0.5]
    monkeypatch.setattr(module, "SCRIPT", done.replace("print(0)", "print(1)"))
    with pytest.raises(RuntimeError, match="the exported model loaded torch"):
        module.measure(sys.executable, "m.onnx", str(tmp_path))
    monkeypatch.setattr(module, "SCRIPT", "raise ValueError('no model')")
    with pytest.raises(RuntimeError, match="ValueError: no model"):
        module.measure(sys.executable, "", str(tmp_path))
