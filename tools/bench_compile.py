"""Time `torch.compile` of reduced models beside the plain one: to compile, and what then runs how fast.

    python -m tools.bench_compile [--model DeiT-S] [--batch 8] [--threads 1]
        [--labels "base,MCTF r = 16,ToMe r = 13"]

Every setting of bench_retokenize compiles in processes of its own with an empty cache and one compiler at a
time: the whole model by `torch.compile`, and reduced ones by `compile_blocks` too. A plain ViT's blocks are
all alike, so that one block's kernels serve twelve; where tokens fall from block to block, each number of
tokens has its own, unless a block is compiled for every number of tokens.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import timm
import torch

from onedpiece.retokenize import compile_blocks
from tools.bench_retokenize import MODELS, SETTINGS, configure

_ROUNDS = 5

ALIKE = 1e-4
"""By how much a logit may differ."""

MOST = 0.75
"""Of the pictures: now and then two pairs of tokens are as alike as rounding tells, and others merge."""


@dataclass(frozen=True)
class Compiled:
    """What one setting came to.

    Attributes:
        label: the setting's.
        by_blocks: whether `compile_blocks` did it; else the model was compiled as a whole.
        seconds: of the first call, which compiles.
        eager: processor seconds of one batch before, the least of some.
        compiled: and afterwards.
    """

    label: str
    by_blocks: bool
    seconds: float
    eager: float
    compiled: float


def measure(label: str, model: str, batch: int, backend: str, *, by_blocks: bool) -> Compiled:
    """Compile one setting, here and now.

    Raises:
        RuntimeError: the compiled model says something else.
    """
    setting = next(each for each in SETTINGS if each.label == label)
    vit = timm.create_model(MODELS[model]).eval()
    configure(vit, setting)
    pictures = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = vit(pictures)
        eager = _least(lambda: vit(pictures))
        whole = vit if by_blocks else torch.compile(vit, dynamic=False, backend=backend)
        if by_blocks:
            compile_blocks(vit, backend=backend)
        start = time.perf_counter()
        found = whole(pictures)
        seconds = time.perf_counter() - start
        alike = (found - expected).abs().amax(dim=1) <= ALIKE
        if int(alike.sum()) < batch * MOST:
            raise RuntimeError(
                f"{label}: compiled, it says something else of {batch - int(alike.sum())} pictures"
            )
        return Compiled(label, by_blocks, seconds, eager, _least(lambda: whole(pictures)))


def _least(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)


def in_a_fresh_process(label: str, args: argparse.Namespace, *, by_blocks: bool) -> Compiled:
    """Measure one setting where nothing was compiled before."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        words = [f"--one={label}", f"--model={args.model}", f"--batch={args.batch}"]
        words += ["--by-blocks"] if by_blocks else []
        words += [f"--threads={args.threads}", f"--backend={args.backend}"]
        command = [sys.executable, "-m", "tools.bench_compile", *words]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return Compiled(**json.loads(done.stdout.splitlines()[-1]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="DeiT-S")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--labels", default="base,MCTF r = 16,ToMe r = 13", help="by commas; base is first")
    parser.add_argument("--backend", default="inductor")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--by-blocks", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        torch.set_num_threads(args.threads)
        found = measure(args.one, args.model, args.batch, args.backend, by_blocks=args.by_blocks)
        print(json.dumps(asdict(found)))
        return 0
    labels = args.labels.split(",")
    whole = [in_a_fresh_process(label, args, by_blocks=False) for label in labels]
    parts = [in_a_fresh_process(label, args, by_blocks=True) for label in labels[1:]]
    heads = "to compile, s | beside base | by blocks, s | beside base"
    print(f"| | {heads} | speed-up, eager | compiled | by blocks |")
    print("|---|" + 7 * "---:|")
    for each, part in zip(whole, [None, *parts], strict=True):
        print(f"| {each.label} | {' | '.join(cells(each, part, whole[0]))} |")
    return 0


def cells(whole: Compiled, blocks: Compiled | None, base: Compiled) -> list[str]:
    """Return one row: seconds to compile, both ways, and what the setting gains, before and compiled."""
    return [
        f"{whole.seconds:.0f}",
        f"{whole.seconds / base.seconds:.1f}×",
        f"{blocks.seconds:.0f}" if blocks else "",
        f"{blocks.seconds / base.seconds:.1f}×" if blocks else "",
        f"{base.eager / whole.eager:.2f}",
        f"{base.compiled / whole.compiled:.2f}",
        f"{base.compiled / blocks.compiled:.2f}" if blocks else "",
    ]


if __name__ == "__main__":
    sys.exit(main())
