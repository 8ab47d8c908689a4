"""The maintainers' two tools run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("timm")
ROOT = Path(__file__).resolve().parents[2]


def _run(tool: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, f"tools/{tool}", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_the_benchmark_counts_and_times() -> None:
    table = _run("bench_retokenize.py", "--models", "DeiT-T", "--batches", "1", "--rounds", "1")
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
def test_pieces_are_drawn(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "pieces.png"
    _run("draw_tokens.py", str(data / "coffee.png"), "-o", str(out), "--model", "deit_tiny_patch16_224")
    assert Image.open(out).size == (13 * 224 + 12 * 4, 224)  # the photo, twelve blocks, gaps between


@pytest.mark.slow
def test_the_profile_counts_calls() -> None:
    table = _run("profile_retokenize.py", "--models", "DeiT-T", "--rounds", "1")
    calls = {
        cells[1].strip(): int(cells[-2])
        for cells in (line.split("|") for line in table.splitlines())
        if len(cells) == 9 and cells[-2].strip().isdigit()
    }
    assert calls["base"] < calls["EViT 0.7"] < calls["MCTF r = 16"]  # in none, in three, in eleven layers
