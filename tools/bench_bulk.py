"""Time `onedpiece bulk` beside a plain batched loop on the same cores, and from few to many pictures.

    python -m tools.bench_bulk --counts 1000,10000,100000 --write onedpiece/bulk/README.md

The loop is one process a core, each over its share of the files: read a batch, `encode_batch`, the rows of it
to one Parquet file. Both are timed from the first picture to the last, start-up aside, in turns of the same
run, as this machine may have other work. Pictures are JPEG crops of a side of 64 pixels: 1,000 different ones
under as many names as are asked for. Beside the loop, the bundled model keeps 64 tokens of each. The counts
are tokenized by a random model of 16 tokens on 32x32 pixels: next to no network, so that growth is in sight.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, NamedTuple

from PIL import Image

from tools.markdown import replace_part, table

ROOT = Path(__file__).resolve().parents[1]
PART = "bench"
DIFFERENT = 1000
SIDE, TOKENS, BATCH = 64, 64, 32

LOOP = """
import os, sys, time
from pathlib import Path
import pyarrow as pa
from pyarrow import parquet
import torch
import onedpiece
torch.set_num_threads(1)
os.nice(max(0, 15 - os.nice(0)))  # what Ray gives its workers
paths = Path(sys.argv[1]).read_text().split("\\n")
codec = onedpiece.load(sys.argv[4] or None)
codec.encode_batch(paths[:1], tokens=1)
print("ready", flush=True)
sys.stdin.readline()
started, cpu = time.time(), time.process_time()
rows = []
for at in range(0, len(paths), int(sys.argv[3])):
    batch = paths[at : at + int(sys.argv[3])]
    for path, code in zip(batch, codec.encode_batch(batch, tokens=int(sys.argv[5])), strict=True):
        size = len(code.to_bytes())
        rows.append({"key": path, "tokens": code.indices, "count": len(code), "bytes": size})
tokens = ("tokens", pa.list_(pa.uint16()))
schema = pa.schema([("key", pa.string()), tokens, ("count", pa.int32()), ("bytes", pa.int32())])
parquet.write_table(pa.Table.from_pylist(rows, schema), sys.argv[2], compression="zstd")
print(started, time.time(), time.process_time() - cpu, flush=True)
"""


class Timing(NamedTuple):
    """One pass over the pictures.

    Attributes:
        pictures: how many.
        seconds: from the first to the last.
        cpu_seconds: of a core, of all processes that work on pictures.
        startup: seconds before and after that.
        actor_mib: the most memory that one of these processes took.
        driver_mib: the same of the process that drives them.
    """

    pictures: int
    seconds: float
    cpu_seconds: float
    startup: float = 0.0
    actor_mib: float = 0.0
    driver_mib: float = 0.0

    @property
    def per_second(self) -> float:
        """Pictures a second."""
        return self.pictures / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of a core a picture."""
        return 1000 * self.cpu_seconds / self.pictures


def draw(folder: Path, count: int) -> Path:
    """Write pictures, a thousand a folder; from the thousandth on they are hard links to the first ones."""
    random = Random(0)
    data = ROOT / "tests" / "data"
    photos = [Image.open(data / f"{name}.png").convert("RGB") for name in ("astronaut", "chelsea")]
    for i in range(count):
        path = folder / f"{i // DIFFERENT:04d}" / f"{i % DIFFERENT:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i >= DIFFERENT:
            os.link(folder / "0000" / path.name, path)
            continue
        left, top = random.randrange(192), random.randrange(192)
        file = BytesIO()
        photos[i % 2].crop((left, top, left + SIDE, top + SIDE)).save(file, "JPEG", quality=90)
        path.write_bytes(file.getvalue())
    return folder


def tiny_model(folder: Path) -> str:
    """Write a random model of next to no weights, and return its folder."""
    import torch

    from onedpiece.tokenizer import Tokenizer, TokenizerConfig
    from onedpiece.weights import save

    torch.manual_seed(0)
    grades = ((8, (64, 64)), (8, (8, 8, 8, 8)))
    config = TokenizerConfig(
        image_size=32,
        patch_size=8,
        num_tokens=16,
        width=64,
        heads=1,
        encoder_layers=1,
        decoder_layers=1,
        fsq_grades=grades,
        linear_size=16,
    )
    return str(save(Tokenizer(config), folder))


def time_loop(paths: Sequence[Path], cores: int, model: str, scratch: Path) -> Timing:
    """Run the plain loop: one process a core, which begin together."""
    running = []
    for core in range(cores):
        listing = scratch / f"{core}.txt"
        listing.write_text("\n".join(map(str, paths[core::cores])))
        words = [str(listing), str(scratch / f"{core}.parquet"), str(BATCH), model, str(TOKENS)]
        command = [sys.executable, "-c", LOOP, *words]
        running.append(
            subprocess.Popen(
                command, env=environment(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        )
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [[float(word) for word in process.communicate()[0].split()] for process in running]
    seconds = max(each[1] for each in said) - min(each[0] for each in said)
    return Timing(len(paths), seconds, sum(each[2] for each in said))


def time_bulk(folder: Path, count: int, cores: int, model: str, scratch: Path) -> Timing:
    """Run `onedpiece bulk` over a folder."""
    out = scratch / f"out{count}"
    command = [sys.executable, "-m", "onedpiece", "bulk", str(folder), str(out)]
    command += ["--concurrency", str(cores), "--batch", str(BATCH), "--overwrite", "--json"]
    command += ["--model", model] if model else ["--tokens", str(TOKENS)]
    with subprocess.Popen(command, env=environment(), text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said: dict[str, Any] = json.loads(process.stdout.read())
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return Timing(
        count,
        said["work_seconds"],
        said["cpu_seconds"],
        said["seconds"] - said["work_seconds"],
        said["peak_mib"],
        usage.ru_maxrss / 1024,
    )


def environment() -> dict[str, str]:
    """Return one thread a process: a core each, as Ray gives its actors."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def to_markdown(bulk: Sequence[Timing], pairs: Sequence[tuple[Timing, Timing]], cores: int) -> str:
    """Return the growth as a table, and the loop's comparison in a sentence below."""
    first = bulk[0].cpu_ms
    lines = [
        [
            f"{each.pictures:,}",
            f"{each.per_second:.0f}",
            f"{each.cpu_ms:.2f}",
            f"{each.cpu_ms / first:.2f}",
            f"{each.startup:.0f}",
            f"{each.actor_mib:.0f}",
            f"{each.driver_mib:.0f}",
        ]
        for each in bulk
    ]
    heads = ["pictures", "a second", "ms of a core each", "beside the first", "start-up, s", "actor, MiB"]
    text = table([*heads, "driver, MiB"], lines)
    if not pairs:
        return text
    walls = [one.per_second / loop.per_second for loop, one in pairs]
    cpus = [loop.cpu_ms / one.cpu_ms for loop, one in pairs]
    loops = ", ".join(f"{loop.per_second:.0f}" for loop, _ in pairs)
    ours = ", ".join(f"{one.per_second:.0f}" for _, one in pairs)
    beside = f"Beside a plain loop of {cores} processes over {pairs[0][0].pictures:,} pictures, in turns"
    return (
        f"{text}\n\n{beside}:\n{ours} pictures a second, the loop {loops}. That is {_percent(walls)} of its\n"
        f"speed in the median, and {_percent(cpus)} by the time of a core that a picture takes."
    )


def _percent(ratios: Sequence[float]) -> str:
    return f"{100 * median(ratios):.0f} %"


def main(argv: list[str] | None = None) -> int:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--counts", default="1000,10000", help="pictures, by commas")
    parser.add_argument("--beside", type=int, default=10000, help="pictures of the comparison; 0: none")
    parser.add_argument("--turns", type=int, default=3, help="how often loop and bulk take turns")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--write", type=Path, help=f"a file whose part {PART!r} becomes the table")
    args = parser.parse_args(argv)
    bulk: list[Timing] = []
    pairs: list[tuple[Timing, Timing]] = []
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        # In a process of its own: what this one takes would count as its children's peak.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            model = pool.submit(tiny_model, scratch / "tiny").result()
        for count in [int(text) for text in args.counts.split(",")]:
            folder = draw(scratch / f"pictures{count}", count)
            bulk.append(time_bulk(folder, count, args.cores, model, scratch))
            print(bulk[-1], file=sys.stderr)
        if args.beside:
            folder = draw(scratch / "beside", args.beside)
            paths = sorted(folder.glob("*/*.jpg"))
            for _ in range(args.turns):
                loop = time_loop(paths, args.cores, "", scratch)
                pairs.append((loop, time_bulk(folder, args.beside, args.cores, "", scratch)))
                print(pairs[-1], file=sys.stderr)
    text = to_markdown(bulk, pairs, args.cores)
    print(text)
    if args.write:
        replace_part(args.write, PART, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
