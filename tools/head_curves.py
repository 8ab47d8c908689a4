"""What a head's task is worth over bytes: on our tokens, and the same network on WebP of as many bytes.

    python -m tools.make_codes     # once: runs/codes/{imagenette,camvid,pennfudan,scenes}.parquet
    python -m tools.head_curves [measure,draw] [--tasks classify,segment,detect,depth] [--shared FOLDER]
        [--head TASK=FILE ...] [--config TASK=FILE ...] [--minutes M] [--pictures N] [--views plain,crop1]
        [--caches runs/codes] [--work runs/head_curves] [--out onedpiece/heads]

`measure` scores a trained head (by default the task's bundled one) at 8 to 256 tokens. Then it trains the
same network, from the head's own weights on, on decoded WebP scaled to the size of the head's linear picture,
for as many minutes of this process as the head's file says (or --minutes), and scores it on WebP of the bytes
that our files of so many tokens have: it has what the head has learned, and as many minutes more. Each WebP
file is the best in PSNR over all scales and qualities, about 0.1 s of a core; they are made once, --pictures
of them to train on, and kept. `draw` makes one picture and one table of all tasks that were measured.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
import torch

import onedpiece
from onedpiece.heads import Task, bundled_head, load_head
from onedpiece.training.codes import CodeDataset
from onedpiece.training.codes.base import TEST, TRAIN
from onedpiece.training.codes.cache_file import read_rows
from onedpiece.training.data.sampling import OrderedBatches
from onedpiece.training.metrics import counts_within, evaluate
from tools.head_study.coded import COUNTS, Coder
from tools.head_study.fit import fit
from tools.head_study.pixel_heads import Pictures, PixelHead, pixel_loss, rows_of, score
from tools.head_study.rate_curves import FITS, Point, read_points, report, write_points
from tools.head_study.settings import read_settings
from tools.head_study.webp_files import Files, Job, WebpFiles, decoded, rows_name, training_jobs
from tools.make_codes import SOURCES, source
from tools.shared import add_shared

ROOT = Path(__file__).resolve().parents[1]
CONFIGS: dict[Task, str] = {
    "classify": "head_classify_imagenette.yaml",
    "segment": "head_segment_camvid.yaml",
    "detect": "head_detect_pennfudan.yaml",
    "depth": "head_depth_synthetic.yaml",
}
_BATCH = 64


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="?", default="measure,draw", help="of measure and draw, by commas")
    parser.add_argument("--tasks", default=",".join(SOURCES))
    parser.add_argument("--head", action="append", default=[], metavar="TASK=FILE")
    parser.add_argument("--config", action="append", default=[], metavar="TASK=FILE")
    parser.add_argument("--minutes", type=float, help="of training on WebP; the head's own by default")
    parser.add_argument(
        "--pictures", type=int, help="WebP files to train on; one a view of a photo by default"
    )
    parser.add_argument("--photos", type=int, help="to test on; all by default")
    parser.add_argument("--views", default="plain,crop1", help="of the photos to train on; mirrored for free")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), help="the config's by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="processes that make WebP files; all cores by default")
    parser.add_argument("--caches", type=Path, default=ROOT / "runs" / "codes")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "head_curves")
    parser.add_argument("--out", type=Path, default=ROOT / "onedpiece" / "heads")
    parser.add_argument("--model", help="a name or a folder; the bundled one by default")
    add_shared(parser)
    return parser.parse_args(argv)


class Curves:
    """One task's two curves.

    Args:
        task: which.
        args: the command line.
    """

    def __init__(self, task: Task, args: argparse.Namespace) -> None:
        self.task, self.args = task, args
        self.cache = args.caches / f"{SOURCES[task]}.parquet"
        self.codec = onedpiece.load(args.model)
        head = _given(args.head).get(task)
        self.head = load_head(bundled_head(task) if head is None else head)
        config = _given(args.config).get(task, str(ROOT / "configs" / CONFIGS[task]))
        trained = re.search(r"([\d.]+) min, (\d+) steps", self.head.note)
        self.minutes, self.steps = (float(trained[1]), int(trained[2])) if trained else (0.0, 0)
        self.settings = read_settings(Path(config), args.minutes or self.minutes or None, args.precision)
        self.examples = {each.key: each for each in source(SOURCES[task], args.shared).examples()}

    def points(self) -> list[Point]:
        """Measure both curves."""
        ours = self._on_tokens()
        print(_line(ours), flush=True)
        theirs = self._on_webp()
        print(_line(theirs), flush=True)
        return ours + theirs

    def _on_tokens(self) -> list[Point]:
        batches = OrderedBatches(self._test.batch, torch.arange(len(self._test)), _BATCH)
        coder, photos = self._coder(TEST, ("plain",)), len(self._test)
        return [
            Point(
                self.task,
                "tokens",
                each.tokens,
                float(np.mean([coder.file_bytes(row, each.tokens) for row in range(photos)])),
                1.0,
                each.value,
                photos,
                self.minutes,
                self.steps,
            )
            for each in evaluate(self.head.head, batches, COUNTS)
        ]

    def _on_webp(self) -> list[Point]:
        """Train on files of the counts that most test photos have files for, and score at these."""
        counts = counts_within(COUNTS, self.codec.num_tokens)
        tests = {count: files for count in counts if _share(files := self._test_files(count)) >= FITS}
        torch.set_num_threads(1)
        network = PixelHead(self.head.head)
        sets = self._training_sets(network, list(tests))
        fitted = fit(network, pixel_loss(sets, self.settings, self.args.seed), self.settings)
        return [self._point(fitted.network.eval(), count, tests[count], fitted.steps) for count in tests]

    def _point(self, network: PixelHead, count: int, files: Files, steps: int) -> Point:
        pixels = decoded(files.data, self.codec.image_size, network.side(count))
        value = score(network, Pictures(pixels, self._test.targets))
        size = float(np.mean([len(data) for data in files.data if data]))
        minutes = self.settings.schedule.minutes or 0.0
        return Point(self.task, "webp", count, size, _share(files), value, len(files.data), minutes, steps)

    def _training_sets(self, network: PixelHead, counts: Sequence[int]) -> dict[int, Pictures]:
        views = tuple(self.args.views.split(","))
        data = CodeDataset(self.cache, TRAIN, self.head.code_space, views)
        jobs = training_jobs(len(data), self.args.pictures, 0, counts)
        files = self._files(TRAIN, views).files(f"train-{'-'.join(map(str, counts))}", jobs)
        sets = {}
        for count in counts:
            mine = [at for at, job in enumerate(jobs) if job.tokens == count and files.data[at]]
            if mine:
                side = network.side(count)
                pixels = decoded([files.data[at] for at in mine], self.codec.image_size, side)
                sets[count] = Pictures(pixels, rows_of(data.targets, [jobs[at].row for at in mine]))
        return sets

    @cached_property
    def _test(self) -> CodeDataset:
        data = CodeDataset(self.cache, TEST, self.head.code_space, ("plain",))
        if self.args.photos is not None:
            rows = range(min(self.args.photos, len(data)))
            data.keys, data.indices = data.keys[: len(rows)], data.indices[: len(rows)]
            data.targets = rows_of(data.targets, rows)
        return data

    def _test_files(self, count: int) -> Files:
        jobs = [Job(row, count) for row in range(len(self._test))]
        return self._files(TEST, ("plain",)).files(f"test-{count}", jobs)

    def _files(self, split: str, variants: Sequence[str]) -> WebpFiles:
        folder = self.args.work / "webp" / rows_name(self.cache, split, variants)
        return WebpFiles(folder, self._coder(split, variants), self.args.workers)

    def _coder(self, split: str, variants: Sequence[str]) -> Coder:
        return Coder(self.codec, self.examples, read_rows(self.cache, split, variants))


def _share(files: Files) -> float:
    """Return the share of the photos that have a file of that many bytes."""
    return sum(map(bool, files.data)) / len(files.data)


def _given(words: Sequence[str]) -> dict[str, str]:
    """Return FILE by TASK of words such as TASK=FILE."""
    return dict(word.split("=", 1) for word in words)


def _line(points: Sequence[Point]) -> str:
    scores = ", ".join(f"{point.score:.3f} at {point.bytes:.0f} B" for point in points)
    return (
        f"{points[0].task}, {points[0].reads}, {points[0].steps} steps: {scores}"
        if points
        else "no file fits"
    )


def measure(args: argparse.Namespace) -> None:
    """Measure what is asked for, a file a task."""
    args.work.mkdir(parents=True, exist_ok=True)
    for task in get_args(Task):
        if task in args.tasks.split(","):
            write_points(args.work / f"{task}.csv", Curves(task, args).points())


def draw(args: argparse.Namespace) -> None:
    """Draw all that was measured, be it now or before."""
    files = [args.work / f"{task}.csv" for task in SOURCES]
    points = [point for path in files if path.exists() for point in read_points(path)]
    report(points, args.out, args.out / "README.md")
    print(args.out / "rate_curves.png")


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {"measure": measure, "draw": draw}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the parts that were asked for."""
    args = parse(argv)
    for part in args.parts.split(","):
        PARTS[part](args)


if __name__ == "__main__":
    main()
