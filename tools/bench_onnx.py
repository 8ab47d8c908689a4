"""Time an exported model beside the model that it is of: the start of a process, and the work in one.

    onedpiece export --format onnx /tmp/ti-256.onnx
    python -m tools.bench_onnx /tmp/ti-256.onnx --python /tmp/venv/bin/python --update

`--python` names an interpreter without torch, with `onnxruntime numpy pillow typer` in it. Every number is
the least of `--rounds`, in seconds of the processor's time on one thread; both sides take turns, so that a
busy machine slows both. Prints a Markdown table.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.markdown import replace_part, table

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "tests" / "data" / "chelsea_451x300.png"
README = ROOT / "onedpiece" / "weights" / "README.md"

STEPS = {
    "import and load": "codec = onedpiece.load(model)",
    "first photo to 64 tokens": "code = codec.encode(photo, tokens=64)",
    "first faithful picture": "codec.decode(code, sharpness=0.0)",
    "first sharp picture": "codec.decode(code, sharpness=1.0)",
    "another photo to 64 tokens": "codec.encode(photo, tokens=64)",
    "another faithful picture": "codec.decode(code, sharpness=0.0)",
    "another sharp picture": "codec.decode(code, sharpness=1.0)",
}
"""What one process does, in this order; the first line counts the start of Python too."""

SCRIPT = "\n".join(
    [
        "import sys, time",
        "model, photo = sys.argv[1] or None, sys.argv[2]",
        "before = 0.0",
        "import onedpiece",
        *(f"{step}\nnow = time.process_time(); print(now - before); before = now" for step in STEPS.values()),
        "print(int('torch' in sys.modules))",
    ]
)


def measure(python: str, model: str, compiled: str) -> list[float]:
    """Return the seconds of every step in a new process.

    Args:
        python: the interpreter.
        model: a folder; empty: the bundled model.
        compiled: a folder for what modules compile to, which the first of several processes writes.

    Raises:
        RuntimeError: the process failed, or an exported model loaded torch.
    """
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "PYTHONPYCACHEPREFIX": compiled,
        "PYTHONDONTWRITEBYTECODE": "",
    }
    done = subprocess.run(
        [python, "-c", SCRIPT, model, str(PHOTO)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    *seconds, torch_loaded = map(float, done.stdout.split())
    if model and torch_loaded:
        raise RuntimeError("the exported model loaded torch")
    return seconds


def bench(onnx: str, python: str, rounds: int) -> str:
    """Return the table."""
    with TemporaryDirectory() as folder:
        sides = ((python, onnx, f"{folder}/theirs"), (sys.executable, "", f"{folder}/ours"))
        for side in sides:
            measure(*side)
        pairs = [tuple(measure(*side) for side in sides) for _ in range(rounds)]
    exported = [min(values) for values in zip(*(each for each, _ in pairs), strict=True)]
    ours = [min(values) for values in zip(*(each for _, each in pairs), strict=True)]
    lines = [
        (step, f"{a:.2f}", f"{b:.2f}", f"{b / a:.2g}")
        for step, a, b in zip(STEPS, exported, ours, strict=True)
    ]
    return table(("", "onnxruntime (s)", "torch (s)", "torch / onnxruntime"), lines)


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and with `--update` fill the README's table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("onnx", help="what `onedpiece export` wrote of the bundled model")
    parser.add_argument("--python", default=sys.executable, help="an interpreter without torch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--update", action="store_true", help=f"fill the table of {README.name}")
    options = parser.parse_args(argv)
    text = bench(str(Path(options.onnx).resolve()), options.python, options.rounds)
    print(text)
    if options.update:
        replace_part(README, "onnx", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
