"""The fuzzer as CI runs it; `tools/fuzz_bitstream.py` says what it throws and what it allows."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_hundred_thousand_inputs_meet_named_exceptions_only() -> None:
    run = subprocess.run(
        [sys.executable, "tools/fuzz_bitstream.py", "--inputs", "100000"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "100000 inputs" in run.stdout
    assert "accepted" in run.stdout  # or nothing beyond the header would have been tried
