"""Measure whether a reducer inside the bundled classifier pays: time, and how often the answer is the same.

    python -m tools.bench_head_reducers PHOTO… [--keep 0.5] [--into onedpiece/retokenize/README.md]

The photos' whole codes are read, one at a time and 16 together, by the head as `onedpiece predict
--retokenize` builds it (the other bundled heads have no tokens to merge). All settings take turns in one run;
a ratio is that of medians of processor time.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
from PIL import Image

import onedpiece
from onedpiece.bitstream import Code
from onedpiece.heads import ClassScores, LoadedHead, Prediction, bundled_head, load_head
from tools.markdown import replace_part, table

NAMES = ("mctf", "imagepiece", "tome")


def agreement(one: Sequence[Prediction], other: Sequence[Prediction]) -> float:
    """Return the part of photos that get the same class."""
    same = [
        isinstance(mine, ClassScores) and isinstance(theirs, ClassScores) and mine.name == theirs.name
        for mine, theirs in zip(one, other, strict=True)
    ]
    return sum(same) / len(same)


def timed(head: LoadedHead, codes: list[Code]) -> float:
    """Return the processor time of one answer in milliseconds a photo."""
    start = time.process_time()
    head.predict(codes)
    return 1000 * (time.process_time() - start) / len(codes)


def lines(codes: list[Code], keep: float, rounds: int) -> list[list[str]]:
    """Return the cells of the head as it is, then of each reducer."""
    plain = load_head(bundled_head("classify"))
    heads = {"none": plain} | {name: plain.reduced(name, keep) for name in NAMES}
    many = [codes[i % len(codes)] for i in range(16)]
    times: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds + 1):  # the first does not count
        for name, head in heads.items():
            for batch in (1, 16):
                times.setdefault((name, batch), []).append(timed(head, many[:batch]))
    middle = {key: median(values[1:]) for key, values in times.items()}
    expected = plain.predict(codes)
    return [
        [
            name,
            *(
                f"{middle[name, batch]:.1f} ({middle['none', batch] / middle[name, batch]:.2f}×)"
                for batch in (1, 16)
            ),
            f"{agreement(expected, head.predict(codes)):.1%}",
        ]
        for name, head in heads.items()
    ]


def main() -> None:
    """Measure the head and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--into", type=Path, help="the README whose part `predict` to fill")
    given = parser.parse_args()
    codec = onedpiece.load()
    codes = [codec.encode(Image.open(photo).convert("RGB")) for photo in given.photos]
    header = ["--retokenize", "ms, one photo", "ms a photo, 16", "same answer"]
    found = lines(codes, given.keep, given.rounds)
    note = (
        f"--keep {given.keep:g}, {len(codes)} photos of {len(codes[0])} tokens, processor time, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}."
    )
    text = f"{table(header, found, left=1)}\n\n{note}"
    print(text)
    if given.into:
        replace_part(given.into, "predict", text)


if __name__ == "__main__":
    main()
