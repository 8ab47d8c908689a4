"""Time encode and decode of two geometries side by side, in one run.

    python -m tools.bench_speed [--threads 4] [--rounds 5] [--json speed.json]

Weights are random: they do not change the time. Cases are interleaved, round by round, so that whatever else
the machine does hits both models alike, and the median round counts. "share" is the network's own
multiply-adds per second over those of a 2048x2048x2048 float32 product, measured in the same run.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from onedpiece.tokenizer import Tokenizer, preset

OURS, THEIRS = "ti-256", "s-256"
_SIDE = 2048  # of the measured matrix product


@dataclass
class Case:
    """One thing to time for one model."""

    model: str
    what: str  # "encode", "decode 64", "decode 256"
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


def cases_of(name: str, tokenizer: Tokenizer, batches: Sequence[int], counts: Sequence[int]) -> list[Case]:
    """Return encode, and decode at each token count, for each batch size."""
    generator = torch.Generator().manual_seed(0)
    config = tokenizer.config
    cases: list[Case] = []
    for batch in batches:
        images = torch.rand(batch, 3, config.image_size, config.image_size, generator=generator)
        tokens = torch.randint(config.codebook_size, (batch, config.num_tokens), generator=generator)
        cases.append(Case(name, "encode", batch, partial(tokenizer.tokenize, images)))
        cases += [
            Case(name, f"decode {count}", batch, partial(tokenizer.detokenize, tokens[:, :count]))
            for count in counts
        ]
    return cases


def matmul_case() -> Case:
    """Return the product that stands for what the machine can do."""
    a, b = torch.ones(_SIDE, _SIDE), torch.ones(_SIDE, _SIDE)
    return Case("machine", "matmul", 1, lambda: a @ b)


def measure(cases: Sequence[Case], rounds: int, tell: Callable[[int], None]) -> None:
    """Count each case's operations in one call that warms it up, then time `rounds` interleaved rounds."""
    with torch.no_grad():
        for case in cases:
            with FlopCounterMode(display=False) as counter:
                case.call()
            case.flops = counter.get_total_flops()
        for number in range(rounds):
            for case in cases:
                start = time.perf_counter()
                case.call()
                case.seconds.append(time.perf_counter() - start)
            tell(number + 1)


def rate(case: Case) -> float:
    """Return a case's operations per second."""
    return case.flops / statistics.median(case.seconds)


def compare(ours: Sequence[Case], theirs: Sequence[Case], machine: Case) -> list[Row]:
    """Return one row for each pair of cases."""
    return [
        Row(
            a.what,
            a.batch,
            a.ms_per_image,
            b.ms_per_image,
            b.ms_per_image / a.ms_per_image,
            a.flops / a.batch / 1e9,
            b.flops / b.batch / 1e9,
            rate(a) / rate(machine),
            rate(b) / rate(machine),
        )
        for a, b in zip(ours, theirs, strict=True)
    ]


def show(rows: Sequence[Row], machine: Case) -> None:
    """Print the table."""
    title = f"{torch.get_num_threads()} threads, float32, matrix product {rate(machine) / 1e9:.0f} GFLOP/s"
    table = Table(title=title, title_justify="left")
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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--tokens", default="64,256")
    parser.add_argument("--json", type=Path, help="write the rows there")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    args = parse(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    batches = [int(batch) for batch in args.batches.split(",")]
    counts = [int(count) for count in args.tokens.split(",")]
    ours = cases_of(OURS, Tokenizer(preset(OURS)).eval().requires_grad_(False), batches, counts)
    theirs = cases_of(THEIRS, Tokenizer(preset(THEIRS)).eval().requires_grad_(False), batches, counts)
    machine = matmul_case()
    interleaved = [machine, *(case for pair in zip(ours, theirs, strict=True) for case in pair)]
    measure(interleaved, args.rounds, lambda done: print(f"round {done} of {args.rounds}", file=sys.stderr))
    rows = compare(ours, theirs, machine)
    show(rows, machine)
    if args.json:
        report = {
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "matmul_gflops": rate(machine) / 1e9,
        }
        args.json.write_text(json.dumps({**report, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
