"""The maintainers' two tools run."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

pytest.importorskip("timm")


@pytest.fixture
def run(
    tool: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a tool with these words, and return what it prints."""

    def in_process(name: str, *words: object) -> str:
        module = tool(name)
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        module.main()
        return capsys.readouterr().out

    return in_process


@pytest.mark.slow
def test_the_benchmark_counts_and_times(run: Callable[..., str]) -> None:
    table = run("bench_retokenize", "--models", "DeiT-T", "--batches", "1", "--rounds", "1")
    rows = {
        cells[1].strip(): cells[2:]
        for cells in (line.split("|") for line in table.splitlines() if "|" in line)
    }
    assert rows["base"][:2] == [" 1.25 ", " 197 "]
    assert rows["MCTF r = 16"][:2] == [" 0.71 ", " 21 "]
    assert rows["ImagePiece, 69 left"][1] == " 69 "
    assert rows["ImagePiece, 26 left"][1] == " 26 "
    assert rows["base"][3].strip() == "1.00"


@pytest.mark.slow
def test_pieces_are_drawn(run: Callable[..., str], data: Path, tmp_path: Path) -> None:
    out = tmp_path / "pieces.png"
    run("draw_tokens", data / "coffee.png", "-o", out, "--model", "deit_tiny_patch16_224")
    assert Image.open(out).size == (13 * 224 + 12 * 4, 224)  # the photo, twelve blocks, gaps between


@pytest.mark.slow
def test_the_profile_counts_calls(run: Callable[..., str]) -> None:
    table = run("profile_retokenize", "--models", "DeiT-T", "--rounds", "1")
    calls = {
        cells[1].strip(): int(cells[-2])
        for cells in (line.split("|") for line in table.splitlines())
        if len(cells) == 9 and cells[-2].strip().isdigit()
    }
    assert calls["base"] < calls["EViT 0.7"] < calls["MCTF r = 16"]  # in none, in three, in eleven layers


@pytest.mark.slow
def test_compiling_is_timed(run: Callable[..., str]) -> None:
    words = ["--model", "DeiT-T", "--batch", "1", "--labels", "base,MCTF r = 16", "--backend", "aot_eager"]
    _, _, base, mctf = run("bench_compile", *words).splitlines()
    assert base.split("|")[1].strip() == "base"
    assert base.split("|")[3].strip() == "1.0×"
    assert base.split("|")[4].strip() == ""
    assert all(float(mctf.split("|")[at]) > 0 for at in (2, 4, 6, 7, 8))
