"""Throw mutated and random bytes at the .odp parser: only its named exceptions may come out, and soon.

    python -m tools.fuzz_bitstream --inputs 100000    # 20 s; status 1 and the input in hex on failure

Deterministic for a seed. A failing input goes into tests/bitstream as a case of its own.
"""

import argparse
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np

from onedpiece.bitstream import BitstreamError, Code, Tiles
from onedpiece.bitstream.packing import Tables

MAX_SECONDS = 2.0
"""Of processor time, for one input; the slowest honest one takes a few milliseconds."""

MAX_ALLOCATED = 64 * 2**20
"""Bytes by which the process may grow: the stated bound on what parsing takes, whatever the input says."""

LIKELY = tuple([8143] * 8 + [7] * 56)
TABLES = Tables(((LIKELY, LIKELY),) * 256)
FINGERPRINT = bytes.fromhex("0badcafe")


def seeds() -> list[bytes]:
    """Return valid files of every kind, for mutation."""
    draw = np.random.default_rng(0).integers
    sizes = (None, (481, 321), (65_535, 2))
    codes = [
        Code(draw(0, base, count), base, FINGERPRINT, size)
        for base in (2, 1000, 4096, 64_000, 1 << 18, 1 << 32)
        for count in (1, 17, 256)
        for size in sizes
    ]
    for counts in ((3, 5, 4, 5), (256, 1, 256, 77), (9, 9, 9, 9)):
        tiles = Tiles(256, 16, counts)
        codes.append(Code(draw(0, 4096, sum(counts)), 4096, FINGERPRINT, (481, 321), tiles))
    likely = draw(0, 8, (3, 60)) + 64 * draw(0, 8, (3, 60))
    codes += [Code(row, 4096, FINGERPRINT, size) for row, size in zip(likely, sizes, strict=True)]
    # Tiled and coded files are a few of many kinds, and have most to get wrong.
    written = [code.to_bytes(lambda _: TABLES) for code in codes]
    return written + 8 * written[-6:]


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """Return `data` with one to four changes: a bit, a byte, a cut, an insertion, a repetition."""
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 5))):
        # Most of what can go wrong is in the header.
        reach = len(changed) if random.random() < 0.3 else min(len(changed), 24)
        at = int(random.integers(0, reach)) if reach else 0
        kind = random.integers(0, 6)
        if kind == 0 and changed:
            changed[at] ^= 1 << int(random.integers(0, 8))
        elif kind == 1 and changed:
            changed[at] = int(random.choice([0, 1, 0x7F, 0x80, 0xFF, int(random.integers(0, 256))]))
        elif kind == 2:
            del changed[at:]
        elif kind == 3:
            changed[at:at] = random.bytes(int(random.integers(1, 9)))
        elif kind == 4:
            del changed[at : at + int(random.integers(1, 5))]
        else:
            changed += changed[at:] or random.bytes(3)
    return bytes(changed)


def inputs(count: int, seed: int) -> Iterator[bytes]:
    """Yield mutated files, and every tenth time noise behind a header that starts right."""
    random = np.random.default_rng(seed)
    valid = seeds()
    for number in range(count):
        if number % 10:
            yield mutate(valid[int(random.integers(0, len(valid)))], random)
        else:
            start = b"\xd1\x1d" + bytes([0x10 | int(random.integers(0, 16))])
            yield start + random.bytes(int(random.integers(0, 400)))


def verdict(data: bytes) -> str:
    """Return what became of an input, "accepted" or the exception's name; raise what must not happen."""
    try:
        code = Code.from_bytes(data, lambda _: TABLES)
    except BitstreamError as error:
        return type(error).__name__
    assert Code.from_bytes(code.to_bytes(), lambda _: TABLES) == code, (
        "an accepted file does not survive writing and reading"
    )
    return "accepted"


def _give_up(*_: object) -> None:
    raise TimeoutError(f"more than {MAX_SECONDS:g} s of processor time for one input")


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    """Run, print a table of verdicts, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    verdicts: Counter[str] = Counter()
    slowest, before, data = 0.0, _resident(), b""
    signal.signal(signal.SIGVTALRM, _give_up)
    try:
        for data in inputs(asked.inputs, asked.seed):
            start = time.process_time()
            signal.setitimer(signal.ITIMER_VIRTUAL, MAX_SECONDS)
            verdicts[verdict(data)] += 1
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            slowest = max(slowest, time.process_time() - start)
            assert _resident() - before <= MAX_ALLOCATED, f"grew by {_resident() - before} bytes"
    except Exception as error:
        print(f"FAILED with {type(error).__name__}: {error}\ninput: {data.hex()}", file=sys.stderr)
        return 1
    for name, times in verdicts.most_common():
        print(f"{times:8d}  {name}")
    grown = (_resident() - before) / 2**20
    print(f"slowest {1000 * slowest:.1f} ms, memory grew by {grown:.1f} MiB, {asked.inputs} inputs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
