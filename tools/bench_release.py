"""Time this checkout beside another one, in turns and in one run: an older release, or a change.

    git worktree add ../before COMMIT
    python -m tools.bench_release ../before [--threads N] [--clock process] [--rounds 7] [--batches 1,8]

Each checkout runs in a process of its own, by this interpreter and its packages, with its own bundled model.
The two take turns, call by call, so that whatever else the machine does hits both; the median counts.
Encoding is from a photo to a file's bytes, decoding from these to pixels, faithfully: the only look that all
have. The commands are whole processes, by the clock: what a user waits for who types them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
_PHOTO = ROOT / "tests" / "data" / "astronaut.png"

_CHILD = """
import inspect, json, sys, time
import torch
from PIL import Image
import onedpiece
print(onedpiece.__file__, flush=True)
photo = Image.open(sys.argv[1]).convert("RGB").resize((256, 256))
if int(sys.argv[2]):
    torch.set_num_threads(int(sys.argv[2]))
clock = time.process_time if sys.argv[3] == "process" else time.perf_counter
codec = onedpiece.load()
look = {"sharpness": 0.0} if "sharpness" in inspect.signature(codec.decode_batch).parameters else {}
files = {}
for line in sys.stdin:
    what, batch, tokens = json.loads(line)
    if what == "encode":
        call = lambda: [each.to_bytes() for each in codec.encode_batch([photo] * batch, tokens=tokens)]
    else:
        if tokens not in files:
            files[tokens] = codec.encode(photo, tokens=tokens).to_bytes()
        call = lambda: codec.decode_batch([files[tokens]] * batch, **look)
    start = clock()
    call()
    print(clock() - start, flush=True)
"""


@dataclass
class Case:
    """One thing to time, and the seconds that each round took, by checkout: the other one's, then ours."""

    what: str
    batch: int
    tokens: int
    seconds: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))

    @property
    def ms(self) -> tuple[float, float]:
        """Milliseconds a picture, the median round: the other one's, then ours."""
        other, ours = (statistics.median(each) / self.batch * 1e3 for each in self.seconds)
        return other, ours


class Checkout:
    """A process that times what it is asked for with the package of one folder; a context manager.

    Args:
        folder: a checkout's root.
        threads: of torch; 0: as many as it likes.
        clock: "wall", or "process" for the processor time of all threads.

    Raises:
        ValueError: the folder holds no package of ours, so that another one would be timed.
    """

    def __init__(self, folder: Path, threads: int, clock: str) -> None:
        words = [sys.executable, "-c", _CHILD, str(_PHOTO), str(threads), clock]
        self._process = subprocess.Popen(
            words, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        found = Path(self._answer())
        if folder.resolve() not in found.resolve().parents:
            self.close()
            raise ValueError(f"{folder} holds no onedpiece, {found} would be timed; give a checkout's root")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()  # closes its input, at whose end it ends

    def seconds(self, case: Case) -> float:
        """Return how long one call takes.

        Raises:
            RuntimeError: the process ended.
        """
        assert self._process.stdin is not None
        print(json.dumps([case.what, case.batch, case.tokens]), file=self._process.stdin, flush=True)
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("a checkout's process ended; what it said stands above")
        return answer.strip()


def cases_of(batches: Sequence[int], counts: Sequence[int]) -> list[Case]:
    """Return encoding and decoding at each batch size and token count."""
    return [
        Case(what, batch, count) for batch in batches for what in ("encode", "decode") for count in counts
    ]


def measure(cases: Sequence[Case], other: Checkout, ours: Checkout, rounds: int) -> None:
    """Call everything once to warm it up, then time `rounds` rounds, the two checkouts in turns."""
    for round_ in range(rounds + 1):
        for case in cases:
            taken = other.seconds(case), ours.seconds(case)
            if round_:
                for into, each in zip(case.seconds, taken, strict=True):
                    into.append(each)


@dataclass
class Command:
    """A verb of both checkouts' command lines, and how long it took, as in `Case`."""

    verb: str
    words: tuple[list[str], list[str]]
    seconds: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))

    @property
    def ms(self) -> tuple[float, float]:
        """Milliseconds of the median round: the other one's, then ours."""
        other, ours = (statistics.median(each) * 1e3 for each in self.seconds)
        return other, ours


def time_commands(other: Path, rounds: int) -> list[Command]:
    """Encode a photo and decode the file by each checkout's command line, in turns, in fresh processes."""
    with TemporaryDirectory() as place:
        encode: list[list[str]] = []
        decode: list[list[str]] = []
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{place}/compiled"}
        for name, folder in (("before", other), ("now", ROOT)):
            base = [sys.executable, "-m", "onedpiece"]
            said = subprocess.check_output(
                [*base, "decode", "--help"], cwd=folder, env=environment, text=True
            )
            look = ["--sharpness", "0"] if "--sharpness" in said else []
            code, picture = f"{place}/{name}.odp", f"{place}/{name}.png"
            encode.append([*base, "encode", str(_PHOTO), "--tokens", "64", "-o", code])
            decode.append([*base, "decode", code, "-o", picture, *look])
        commands = [Command("encode", (encode[0], encode[1])), Command("decode", (decode[0], decode[1]))]
        for round_ in range(rounds + 1):  # the first one warms up
            for command in commands:
                for folder, words, into in zip((other, ROOT), command.words, command.seconds, strict=True):
                    start = time.perf_counter()
                    subprocess.run(words, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
                    if round_:
                        into.append(time.perf_counter() - start)
        return commands


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="the other checkout's root")
    parser.add_argument("--threads", type=int, default=0, help="torch's threads; its own choice by default")
    parser.add_argument("--clock", choices=("wall", "process"), default="wall", help="what seconds count")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--tokens", default="64,256")
    args = parser.parse_args(argv)
    batches, counts = ([int(each) for each in words.split(",")] for words in (args.batches, args.tokens))
    cases = cases_of(batches, counts)
    options = args.threads, args.clock
    with Checkout(args.folder, *options) as other, Checkout(ROOT, *options) as ours:
        measure(cases, other, ours, args.rounds)
    print("| | batch | before, ms | now, ms | ratio |")
    print("|---|---:|---:|---:|---:|")
    for case in cases:
        before, now = case.ms
        what = f"{case.what} {case.tokens}"
        print(f"| {what} | {case.batch} | {before:.1f} | {now:.1f} | {before / now:.1f}× |")
    for command in time_commands(args.folder, args.rounds):
        before, now = command.ms
        print(f"| `onedpiece {command.verb}` | 1 | {before:.0f} | {now:.0f} | {before / now:.1f}× |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
