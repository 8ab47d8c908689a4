"""Time encode and decode of two geometries side by side, in one run; cold starts, a folder, memory.

    python -m tools.bench_speed [--threads 4] [--rounds 5] [--json speed.json] [--only network,start,folder]
    python -m tools.bench_speed --threads 1 --clock process      # on a machine that is busy

Ours is the bundled model, decoded as a file asks for it ("default", sharp) and faithfully; the published
geometry has random weights, which do not change the time, and its VQGAN head. Cases are interleaved, round by
round, so that whatever else the machine does hits both models alike, and the median round counts. "share" is
the network's own multiply-adds per second over those of the better of two 2048x2048x2048 float32 products,
measured in the same run: torch's own choice and oneDNN's.
"""

import argparse
import io
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from onedpiece.cli.main import main as onedpiece
from onedpiece.tokenizer import Tokenizer, preset
from onedpiece.weights import load

OURS, THEIRS = "ti-256", "s-256"
LOOKS = {"default": 1.0, "faithful": 0.0}
_SIDE = 2048  # of the measured matrix product
_PHOTO = Path(__file__).parents[1] / "tests" / "data" / "astronaut.png"
_FOLDER, _LARGE = 32, 48  # photos of the folders, small and large: six chunks, as a pipeline fills and drains


@dataclass
class Case:
    """One thing to time for one model."""

    model: str
    what: str  # "encode", "decode 64, default", "decode 64, faithful"
    batch: int
    call: Callable[[], object]
    flops: int = 0  # of one call
    seconds: list[float] = field(default_factory=list)  # one a round

    @property
    def ms_per_image(self) -> float:
        """The median round."""
        return statistics.median(self.seconds) / self.batch * 1e3


@dataclass(frozen=True)
class Row:
    """Both models at one thing."""

    what: str
    batch: int
    ours_ms: float  # per image
    theirs_ms: float
    ratio: float  # theirs / ours: how many times faster ours is
    ours_gflop: float  # per image
    theirs_gflop: float
    ours_share: float  # of the machine's matrix-product rate, 0 to 1
    theirs_share: float


def cases_of(
    name: str, tokenizer: Tokenizer, batches: Sequence[int], counts: Sequence[int], looks: dict[str, float]
) -> list[Case]:
    """Return encode, and decode at each token count in each look, for each batch size."""
    generator = torch.Generator().manual_seed(0)
    config = tokenizer.config
    fewest = torch.tensor(config.codes_by_position)
    cases: list[Case] = []
    for batch in batches:
        images = torch.rand(batch, 3, config.image_size, config.image_size, generator=generator)
        tokens = torch.randint(2**31, (batch, config.num_tokens), generator=generator) % fewest
        cases.append(Case(name, "encode", batch, partial(tokenizer.tokenize, images)))
        for count in counts:
            decode = partial(tokenizer.detokenize, tokens[:, :count])
            cases += [
                Case(name, f"decode {count}, {look}", batch, partial(decode, sharpness=sharpness))
                for look, sharpness in looks.items()
            ]
    return cases


def machine_cases() -> list[Case]:
    """Return the products that stand for what the machine can do: torch's own, oneDNN's, bfloat16's."""
    a, b = torch.ones(_SIDE, _SIDE), torch.ones(_SIDE, _SIDE)
    half = a.bfloat16(), b.bfloat16()
    through_onednn = partial(torch.ops.mkldnn._linear_pointwise, a, b, None, "none", [], "")
    return [
        Case("machine", "float32", 1, lambda: a @ b),
        Case("machine", "float32 by oneDNN", 1, through_onednn),
        Case("machine", "bfloat16", 1, lambda: half[0] @ half[1]),
    ]


def _flops_of_dense(x: Sequence[int], weight: Sequence[int], *_: object, **__: object) -> int:
    """Operations of oneDNN's linear layer, which torch's counter does not know."""
    return 2 * math.prod(x) * weight[0]


def measure(
    cases: Sequence[Case],
    rounds: int,
    tell: Callable[[int], None],
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Count each case's operations in one call that warms it up, then time `rounds` interleaved rounds."""
    with torch.no_grad():
        for case in cases:
            known = {torch.ops.mkldnn._linear_pointwise: _flops_of_dense}
            with FlopCounterMode(display=False, custom_mapping=known) as counter:
                case.call()
            case.flops = counter.get_total_flops()
        for number in range(rounds):
            for case in cases:
                start = clock()
                case.call()
                case.seconds.append(clock() - start)
            tell(number + 1)


def rate(case: Case) -> float:
    """Return a case's operations per second."""
    return case.flops / statistics.median(case.seconds)


def compare(ours: Sequence[Case], theirs: Sequence[Case], best: float) -> list[Row]:
    """Return one row for each of our cases, beside theirs of the same batch and count.

    Args:
        ours: what is set beside.
        theirs: has one look only.
        best: the machine's operations per second.
    """
    found = {(case.batch, case.what.split(",")[0]): case for case in theirs}
    pairs = ((case, found[case.batch, case.what.split(",")[0]]) for case in ours)
    return [
        Row(
            a.what,
            a.batch,
            a.ms_per_image,
            b.ms_per_image,
            b.ms_per_image / a.ms_per_image,
            a.flops / a.batch / 1e9,
            b.flops / b.batch / 1e9,
            rate(a) / best,
            rate(b) / best,
        )
        for a, b in pairs
    ]


def weights_mb(tokenizer: Tokenizer, *, sharp: bool) -> float:
    """Return the megabytes of the parameters in a file, in float16, with or without the sharp network."""
    parts = (each for name, each in tokenizer.named_parameters() if sharp or not name.startswith("sharp."))
    return sum(2 * each.numel() for each in parts) / 1e6


_CHILD = """
import sys, torch
from pathlib import Path
from onedpiece.tokenizer import Tokenizer, preset
from onedpiece.weights import load
name, look = sys.argv[1], float(sys.argv[2])
tokenizer = load().tokenizer if name == "bundled" else Tokenizer(preset(name)).eval()
tokenizer.detokenize(torch.zeros(1, 256, dtype=torch.int64), sharpness=look)
# Not getrusage: its peak is at least that of the process that started this one.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 1024)
"""


def peak_memory_mb(model: str, sharpness: float) -> float:
    """Return the peak memory in MiB of a fresh Linux process that loads a model and decodes one picture."""
    words = [sys.executable, "-c", _CHILD, model, str(sharpness)]
    return float(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def start_cases(folder: Path) -> list[Case]:
    """Return torch's own import and the commands on one photo, each a fresh process."""
    code, picture = folder / "a.odp", folder / "a.png"
    module = [sys.executable, "-m", "onedpiece"]
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "encode": [*module, "encode", _PHOTO, "-o", code],
        "decode": [*module, "decode", code, "-o", picture],
        "decode --sharpness 0": [*module, "decode", code, "-o", picture, "--sharpness", "0"],
    }
    # The call that warms up writes what modules compile to, as pip does where it installs.
    environment = {
        **os.environ,
        "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
        "PYTHONDONTWRITEBYTECODE": "",
    }
    run = partial(subprocess.run, check=True, stdout=subprocess.DEVNULL, env=environment)
    return [Case("start", what, 1, partial(run, words)) for what, words in commands.items()]


def folder_cases(folder: Path, tokenizer: Tokenizer) -> list[Case]:
    """Return `encode` of folders of WebPs (256 px) and JPEGs (12 MP), `decode` back, and the bare network."""
    cases = []
    picture = Image.open(_PHOTO).convert("RGB")
    kinds = (("256 px", (256, 256), "webp", _FOLDER), ("12 MP", (4000, 3000), "jpg", _LARGE))
    for what, size, ending, count in kinds:
        photos = folder / ending
        photos.mkdir()
        for i in range(count):
            picture.resize(size).save(photos / f"{i}.{ending}", quality=90)
        codes = str(folder / f"{ending}-odp")
        words = ["encode", str(photos), "-o", codes]
        cases.append(Case("folder", f"encode {what}", count, partial(_quietly, words)))
        words = ["decode", codes, "-o", str(folder / f"{ending}-png"), "--sharpness", "0"]
        cases.append(Case("folder", f"decode {what}", count, partial(_quietly, words)))
        images = torch.rand(count, 3, 256, 256)
        cases.append(Case("folder", f"bare network {what}", count, partial(_bare, tokenizer, images)))
    return cases


def _quietly(words: list[str]) -> None:
    with redirect_stdout(io.StringIO()):
        status = onedpiece(words)
    if status:
        raise RuntimeError(f"onedpiece {' '.join(words)} ended with {status}")


def _bare(tokenizer: Tokenizer, images: torch.Tensor) -> None:
    """What `encode` asks of the network: tokens, and the faithful picture for the PSNR it prints."""
    for part in torch.split(images, 8):
        tokenizer.detokenize(tokenizer.tokenize(part))


def show(rows: Sequence[Row], title: str) -> None:
    """Print the table."""
    heads = (
        "",
        "batch",
        f"{OURS} ms/image",
        f"{THEIRS} ms/image",
        "ratio",
        "GFLOP",
        "GFLOP",
        "share",
        "share",
    )
    table = Table(title=title, title_justify="left")
    for head in heads:
        table.add_column(head, justify="right" if head else "left")
    for row in rows:
        table.add_row(
            row.what,
            str(row.batch),
            f"{row.ours_ms:.0f}",
            f"{row.theirs_ms:.0f}",
            f"{row.ratio:.1f}",
            f"{row.ours_gflop:.1f}",
            f"{row.theirs_gflop:.1f}",
            f"{row.ours_share:.0%}",
            f"{row.theirs_share:.0%}",
        )
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, help="torch's threads; as many as cores by default")
    parser.add_argument("--clock", choices=("wall", "process"), default="wall", help="of the networks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--tokens", default="64,256")
    parser.add_argument("--only", default="network,start,folder", help="parts, by commas")
    parser.add_argument("--json", type=Path, help="write the rows there")
    return parser.parse_args(argv)


def network(args: argparse.Namespace) -> dict[str, object]:
    """Time both networks; return the machine's rates, the rows, and memory and size of each way to decode."""
    batches = [int(batch) for batch in args.batches.split(",")]
    counts = [int(count) for count in args.tokens.split(",")]
    bundled = load().tokenizer
    published = Tokenizer(preset(THEIRS)).eval().requires_grad_(False)
    ours = cases_of(OURS, bundled, batches, counts, LOOKS)
    theirs = cases_of(THEIRS, published, batches, counts, {"its head": 0.0})
    machine = machine_cases()
    clock = time.process_time if args.clock == "process" else time.perf_counter
    _measure([*machine, *ours, *theirs], args.rounds, clock)
    rates = {case.what: rate(case) / 1e9 for case in machine}
    best = max(gflops for what, gflops in rates.items() if what != "bfloat16")
    rows = compare(ours, theirs, best * 1e9)
    spoken = ", ".join(f"{what} {gflops:.0f}" for what, gflops in rates.items())
    show(rows, f"{torch.get_num_threads()} threads; matrix products in GFLOP/s: {spoken}")
    sizes = {
        "default": (peak_memory_mb("bundled", 1.0), weights_mb(bundled, sharp=True)),
        "faithful": (peak_memory_mb("bundled", 0.0), weights_mb(bundled, sharp=False)),
        THEIRS: (peak_memory_mb(THEIRS, 0.0), weights_mb(published, sharp=True)),
    }
    for what, (peak, weights) in sizes.items():
        print(f"{what}: a process that decodes one picture peaks at {peak:.0f} MiB; weights {weights:.0f} MB")
    return {
        "gflops": rates,
        "rows": [asdict(row) for row in rows],
        "sizes": {what: {"peak_mib": peak, "weights_mb": mb} for what, (peak, mb) in sizes.items()},
    }


def start(args: argparse.Namespace) -> dict[str, object]:
    """Time fresh processes; return the median seconds of each."""
    with tempfile.TemporaryDirectory() as folder:
        cases = start_cases(Path(folder))
        _measure(cases, args.rounds)
    own = statistics.median(cases[0].seconds)
    for case in cases:
        seconds = statistics.median(case.seconds)
        print(f"start, {case.what}: {seconds:.2f} s, {seconds - own:+.2f} s beside torch's own import")
    return {"start": {case.what: statistics.median(case.seconds) for case in cases}}


def folder(args: argparse.Namespace) -> dict[str, object]:
    """Time `encode` of whole folders; return pictures per second."""
    with tempfile.TemporaryDirectory() as place:
        cases = folder_cases(Path(place), load().tokenizer)
        _measure(cases, args.rounds)
    found = {case.what: 1e3 / case.ms_per_image for case in cases}
    for what, each in found.items():
        print(f"folder, {what}: {each:.1f} pictures/s")
    return {"folder": found}


def _measure(cases: Sequence[Case], rounds: int, clock: Callable[[], float] = time.perf_counter) -> None:
    measure(cases, rounds, lambda done: print(f"round {done} of {rounds}", file=sys.stderr), clock)


_PARTS: dict[str, Callable[[argparse.Namespace], dict[str, object]]] = {
    "network": network,
    "start": start,
    "folder": folder,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    args = parse(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    report: dict[str, object] = {
        "threads": torch.get_num_threads(),
        "clock": args.clock,
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
    }
    for part in args.only.split(","):
        report |= _PARTS[part](args)
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
