"""What the bundled heads are worth and cost, by token count.

    python -m tools.make_codes     # once: runs/codes/{imagenette,camvid,pennfudan,scenes}.parquet
    python -m tools.score_heads [--head classify --head FILE ...] [--caches runs/codes] [--shared FOLDER]
        [--draw FOLDER] [--write onedpiece/heads/bundled/README.md]

Scores are of each set's test photos. Milliseconds are one core's processor time a photo, in batches of 64, at
16 and at 256 tokens in turns. A classifier of more classes than the set's answers among the set's alone.
`--draw` leaves pictures of what the heads see.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import process_time
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

import onedpiece
from onedpiece.heads import ClassLogits, Head, Task, find_head, load_head
from onedpiece.heads.checkpoint import LoadedHead, bundled_head, bundled_tasks
from onedpiece.training.codes import CodeDataset
from onedpiece.training.codes.base import TEST
from onedpiece.training.metrics import Score
from tools.head_study.coded import COUNTS
from tools.head_study.dense import dense_scores, draw_answers
from tools.make_codes import SOURCES, source
from tools.markdown import replace_part, table
from tools.shared import add_shared

ROOT = Path(__file__).resolve().parents[1]
TITLES: dict[Task, str] = {
    "classify": "Imagenette, top-1 %",
    "segment": "CamVid, mIoU %",
    "detect": "Penn-Fudan, AP50 %",
    "depth": "rendered scenes, AbsRel % ↓",
}
FEW, MANY = 16, 256
BATCH, ROUNDS = 64, 9


class Cost(NamedTuple):
    """Milliseconds of processor time a photo of `FEW` and of `MANY` tokens."""

    few: float
    many: float


@torch.inference_mode()
def cost(head: LoadedHead, test: CodeDataset) -> Cost:
    """Time a head in turns, so that what disturbs the machine disturbs both alike."""
    indices = test.indices[:BATCH].long()
    seconds: dict[int, list[float]] = {FEW: [], MANY: []}
    for _ in range(ROUNDS + 1):
        for count, times in seconds.items():
            start = process_time()
            head.head(indices[:, :count])
            times.append(process_time() - start)
    few, many = (1000 * median(times[1:]) / len(indices) for times in seconds.values())
    return Cost(few, many)


class Restricted(nn.Module):
    """A classifier of many classes that answers among a set's own alone, found by their names."""

    def __init__(self, head: Head, classes: Sequence[str]) -> None:
        super().__init__()
        self.head, self.config = head, replace(head.config, classes=tuple(classes))
        self.numbers = [head.config.classes.index(name) for name in classes]

    def forward(self, indices: Tensor, lengths: Tensor | None = None) -> ClassLogits:
        """Score the set's classes."""
        return ClassLogits(self.head(indices, lengths).logits[:, self.numbers])


def among(loaded: LoadedHead, classes: Sequence[str]) -> LoadedHead:
    """Return a head that answers among a set's classes: itself, unless it is a classifier of more."""
    head = loaded.head
    if head.config.task != "classify" or head.config.classes == tuple(classes):
        return loaded
    return loaded._replace(head=cast("Head", Restricted(head, classes)))


def row(name: str, head: LoadedHead, path: Path, scores: Sequence[Score], spent: Cost) -> list[str]:
    """Return a head's cells."""
    values = [f"{100 * score.value:.1f}" for score in scores]
    title = f"`{name}`: {TITLES[head.head.config.task]}"
    megabytes = f"{path.stat().st_size / 1e6:.1f}"
    times = [f"{spent.few:.2f}", f"{spent.many:.2f}", f"{spent.few / spent.many:.2f}"]
    return [title, megabytes, *values, *times]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--head", action="append", help="a task's bundled head, or a file; all bundled ones")
    parser.add_argument("--caches", type=Path, default=ROOT / "runs" / "codes")
    parser.add_argument("--draw", type=Path, help="a folder for pictures of what the heads see")
    parser.add_argument("--write", type=Path, help="a Markdown file with marks `scores`")
    add_shared(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Score, time and print."""
    args = parse(argv)
    torch.set_num_threads(1)
    lines = []
    for name in args.head or bundled_tasks():
        path = Path(name) if Path(name).exists() else bundled_head(name)
        loaded = find_head(name)
        task = loaded.head.config.task
        cache = args.caches / f"{SOURCES[task]}.parquet"
        test = CodeDataset(cache, TEST, loaded.code_space)
        head = among(loaded, test.metadata.classes)
        lines.append(row(name, head, path, dense_scores(head, cache), cost(head, test)))
        print(" ".join(lines[-1]), flush=True)
        if args.draw is not None:
            photos, codec = source(SOURCES[task], args.shared), onedpiece.load()
            draw_answers(load_head(path), photos, codec, args.draw / task, (FEW, 64, MANY))
    header = ["head", "MB", *map(str, COUNTS), f"ms at {FEW}", f"ms at {MANY}", f"{FEW} / {MANY}"]
    text = table(header, lines)
    print(text)
    if args.write is not None:
        replace_part(args.write, "scores", text)


if __name__ == "__main__":
    main()
