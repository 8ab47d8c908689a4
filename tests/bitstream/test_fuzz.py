"""The fuzzer as CI runs it; `tools/fuzz_bitstream.py` says what it throws and what it allows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("inputs", [2000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_inputs_meet_named_exceptions_only(inputs: int) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tools.fuzz_bitstream", "--inputs", str(inputs), "--seed", str(inputs)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert f"{inputs} inputs" in run.stdout
    assert "accepted" in run.stdout  # or nothing beyond the header would have been tried
