"""Measure what the re-tokenizers save: GFLOPs and images per second, beside the unreduced model.

    python -m tools.bench_retokenize --batches 1 64 --rounds 5
    python -m tools.bench_retokenize --threads 1 --clock process      # on a machine that is busy
    python -m tools.bench_retokenize --device cuda --dtype float16 --batches 64 256

DeiT-T and DeiT-S, or T2T-ViT-14, LV-ViT-S and SiT-S, at 224 px with random weights: speed does not depend
on them. All settings take turns inside each round, so that a machine that slows down does so for everyone;
the ratio is the median over the rounds of each round's own ratio. `slices` is the unreduced model run 16
pictures at a time, as the reduced ones are on a CPU: what is gained beyond it comes from having fewer tokens.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from onedpiece.retokenize import apply, remove, trace
from onedpiece.retokenize.models import lv_vit, t2t_vit
from onedpiece.retokenize.models.lv_vit import SLIMMING_LAYERS
from onedpiece.retokenize.stack import SLICE

MODELS = {"DeiT-T": "deit_tiny_patch16_224", "DeiT-S": "deit_small_patch16_224"}
HYPER_SPEED = {"keep_rate": 0.35, "schedule": ((0, 1, 2), (3, 4, 5), (6, 7, 8))}


@dataclass(frozen=True)
class Setting:
    """One row of the table: a reducer with its options, or none."""

    label: str
    reducer: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    slices: bool = False


SETTINGS = (
    Setting("base"),
    Setting("base, slices", slices=True),
    Setting("MCTF r = 16", "mctf", {"r": 16}),
    Setting("MCTF-Fast 0.35", "mctf", {"r": 0.35, "layers": (3, 6, 9)}),
    Setting("ImagePiece, 69 left", "imagepiece", {"keep_rate": 0.7}),
    Setting("ImagePiece, 26 left", "imagepiece", {"keep_rate": 0.5}),
    Setting("ImagePiece, hyper-speed", "imagepiece", HYPER_SPEED),
    Setting("ToMe r = 13", "tome", {"r": 13}),
    Setting("EViT 0.7", "evit", {"keep_rate": 0.7}),
)


# Models that timm has not, each with what its papers put into it.
OWN = {
    "T2T-ViT-14": (t2t_vit, "t2t_vit_14", (SETTINGS[0], Setting("MCTF r = 13", "mctf", {"r": 13}))),
    "LV-ViT-S": (lv_vit, "lv_vit_s", (SETTINGS[0], Setting("MCTF r = 8", "mctf", {"r": 8}))),
    "SiT-S": (
        lv_vit,
        "sit_s",
        (SETTINGS[0], Setting("SiT", "slimming", {"layers": SLIMMING_LAYERS["sit_s"]})),
    ),
}


@dataclass(frozen=True)
class Row:
    """What was measured for one setting."""

    label: str
    gflops: float
    tokens: int
    images_per_second: float
    ratio: float


def configure(model: nn.Module, setting: Setting) -> Callable[[Tensor], Tensor]:
    """Put the setting's reducer into the model and return what is to be timed."""
    if setting.reducer is None:
        remove(model)
    else:
        apply(model, setting.reducer, **setting.options)
    if setting.slices:
        return lambda x: torch.cat([model(part) for part in torch.split(x, SLICE)])
    return model


def count_gflops(model: nn.Module, x: Tensor) -> float:
    """Multiply-accumulates of one picture, in 10⁹ (what papers call GFLOPs)."""
    with FlopCounterMode(display=False) as counter:
        model(x[:1])
    return float(counter.get_total_flops()) / 2e9


def tokens_left(model: nn.Module, setting: Setting, x: Tensor) -> int:
    """Tokens behind the last block."""
    if setting.reducer is None:
        return int(model.pos_embed.shape[1])  # type: ignore[index]
    return trace(model, x[:1]).states[-1].x.shape[1]


def time_once(run: Callable[[Tensor], Tensor], x: Tensor, clock: Callable[[], float]) -> float:
    """Seconds of one forward pass."""
    start = clock()
    run(x)
    if x.is_cuda:
        torch.cuda.synchronize()
    return clock() - start


def create(name: str) -> tuple[nn.Module, tuple[Setting, ...]]:
    """Build a model with fresh weights; returns it and what is to be measured with it."""
    if name in OWN:
        build, own_name, settings = OWN[name]
        return build(own_name).eval(), settings
    return timm.create_model(MODELS[name]).eval(), SETTINGS


def measure(
    model: nn.Module,
    x: Tensor,
    rounds: int,
    clock: Callable[[], float],
    settings: tuple[Setting, ...] = SETTINGS,
) -> list[Row]:
    """Time every setting once a round, after a round that does not count."""
    seconds: dict[str, list[float]] = {setting.label: [] for setting in settings}
    facts = {}
    for number in range(rounds + 1):
        for setting in settings:
            run = configure(model, setting)
            if number == 0:
                facts[setting.label] = count_gflops(model, x), tokens_left(model, setting, x)
            taken = time_once(run, x, clock)
            if number:
                seconds[setting.label].append(taken)
    base = seconds["base"]
    return [
        Row(
            label,
            *facts[label],
            images_per_second=x.shape[0] / statistics.median(taken),
            ratio=statistics.median(b / t for b, t in zip(base, taken, strict=True)),
        )
        for label, taken in seconds.items()
    ]


def print_table(title: str, rows: list[Row]) -> None:
    """Print one table in Markdown."""
    print(f"\n{title}\n\n| | GFLOPs | tokens left | images/s | speed-up |\n|---|---|---|---|---|")
    for row in rows:
        numbers = f"{row.gflops:.2f} | {row.tokens} | {row.images_per_second:.1f} | {row.ratio:.2f}"
        print(f"| {row.label} | {numbers} |", flush=True)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=[*MODELS, *OWN], default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--rounds", type=int, default=5, help="timed passes of each setting")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's")
    parser.add_argument("--clock", choices=["wall", "process"], default="wall", help="process: CPU seconds")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark."""
    options = parse_arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    print(f"torch {torch.__version__}, timm {timm.__version__}, {options.device}, {options.dtype}, ", end="")
    print(f"{torch.get_num_threads()} CPU threads, {options.clock} clock, {options.rounds} rounds")
    for name in options.models:
        model, settings = create(name)
        model.to(options.device, getattr(torch, options.dtype))
        for batch in options.batches:
            x = torch.randn(batch, 3, 224, 224).to(options.device, getattr(torch, options.dtype))
            with torch.inference_mode():
                rows = measure(model, x, options.rounds, clock, settings)
            print_table(f"{name}, 224 px, batch {batch}", rows)


if __name__ == "__main__":
    main()
