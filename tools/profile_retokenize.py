"""Show where the time of a reduced network goes: products that shrink, bookkeeping that is added.

    python -m tools.profile_retokenize --models DeiT-S --batch 1 --rounds 20

One line for each setting of bench_retokenize.py: milliseconds a pass as torch's profiler sees them, its own
cost included, shared out over kinds of operators, and how many operators a pass calls. With one picture, a
pass reads every weight for few rows and calls many small operators; neither gets less with the tokens, and
so batch 1 gains less than the counted GFLOPs promise.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import timm
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from tools.bench_retokenize import MODELS, SETTINGS, configure

# Names of operators begin so; the first kind that fits counts.
KINDS = {
    "products": (
        "aten::addmm",
        "aten::mm",
        "aten::bmm",
        "aten::baddbmm",
        "aten::mkldnn_",
        "aten::_mkl_linear",
    ),
    "attention": ("aten::_scaled_dot_product", "aten::_softmax", "aten::softmax"),
    "norm, GELU, sums": ("aten::native_layer_norm", "aten::gelu", "aten::add", "aten::mul", "aten::div"),
}
REST = "matching, moving"  # sort, max, gather, index, copies, and what only arranges


@dataclass(frozen=True)
class Costs:
    """Where one pass spends its time.

    Attributes:
        ms: by kind of operator.
        calls: operators called.
    """

    ms: dict[str, float]
    calls: float


def kind_of(operator: str) -> str:
    """Return the kind that an operator's name belongs to."""
    return next((kind for kind, heads in KINDS.items() if operator.startswith(heads)), REST)


def profiled(run: Callable[[Tensor], Tensor], x: Tensor, rounds: int) -> Costs:
    """Profile `rounds` passes, after two that do not count, and return the mean of one."""
    for _ in range(2):
        run(x)
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        for _ in range(rounds):
            run(x)
    ms = dict.fromkeys([*KINDS, REST], 0.0)
    calls = 0
    for event in watched.key_averages():
        ms[kind_of(event.key)] += event.self_cpu_time_total / 1000 / rounds
        calls += event.count
    return Costs(ms, calls / rounds)


def main() -> None:
    """Profile every setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["DeiT-S"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    x = torch.randn(options.batch, 3, 224, 224)
    for name in options.models:
        model = timm.create_model(MODELS[name]).eval()
        print(f"\n{name}, batch {options.batch}, {torch.get_num_threads()} threads, ms a pass\n")
        print(f"| | all | {' | '.join([*KINDS, REST])} | calls |")
        print("|---|---:|" + "---:|" * (len(KINDS) + 2))
        for setting in (each for each in SETTINGS if not each.slices):
            with torch.inference_mode():
                costs = profiled(configure(model, setting), x, options.rounds)
            cells = " | ".join(f"{ms:.1f}" for ms in (sum(costs.ms.values()), *costs.ms.values()))
            print(f"| {setting.label} | {cells} | {costs.calls:.0f} |", flush=True)


if __name__ == "__main__":
    main()
