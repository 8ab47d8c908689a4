"""What a head of few photos gains from starting at a bundled head: Imagenette's first photos of each class.

    python -m tools.make_codes imagenette                     # once
    python -m tools.study_start --cache runs/codes/imagenette.parquet [--photos 30] [--minutes 1.5]
        [--starts null,segment] [--out runs/study_start] [--write onedpiece/heads/README.md]

Each start is trained by configs/head_own.yaml, the same minutes of this process's own time, and scored on all
test photos.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as parquet

from onedpiece.heads import load_head
from onedpiece.training.cli import head_main
from onedpiece.training.codes import CodeDataset
from onedpiece.training.codes.base import TEST, TRAIN
from onedpiece.training.codes.cache_file import read_metadata, write_arrow
from tools.head_study.dense import dense_scores
from tools.markdown import replace_part, table

ROOT = Path(__file__).resolve().parents[1]
COUNTS = (16, 64, 256)
NAMES = {"null": "from scratch"}


def first_photos(cache: Path, photos: int, out: Path) -> Path:
    """Write a cache with all test photos, and of those to train on the first so many of each class."""
    rows = parquet.read_table(cache)
    seen: dict[str, bool] = {}
    counts: Counter[bytes] = Counter()
    kept = []
    columns = (rows[name].to_pylist() for name in ("key", "split", "target"))
    for at, (key, split, target) in enumerate(zip(*columns, strict=True)):
        if key not in seen:
            seen[key] = split != TRAIN or counts[target] < photos
            counts[target] += split == TRAIN
        if seen[key]:
            kept.append(at)
    write_arrow(out, rows.take(kept), read_metadata(cache))
    return out


def train(start: str, cache: Path, minutes: float, folder: Path) -> Path:
    """Train one head, and return its file."""
    words = [
        f"--config={ROOT / 'configs' / 'head_own.yaml'}",
        f"--data.cache={cache}",
        f"--data.split={TEST}",
        f"--model.init_from={start}",
        f"--model.schedule.minutes={minutes}",
        "--model.schedule.clock=processor",
        "--model.head.task=classify",
        f"--trainer.default_root_dir={folder}",
        "--trainer.accelerator=cpu",
        "--trainer.val_check_interval=1000000",
    ]
    head_main(["fit", *words, "--overwrite"])
    return folder / "head.safetensors"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="labelled codes, as make_codes writes them")
    parser.add_argument("--photos", type=int, default=30, help="of each class to train on")
    parser.add_argument("--minutes", type=float, default=1.5, help="of processor time, each training")
    parser.add_argument("--starts", default="null,segment", help="as --model.init_from takes them, by commas")
    parser.add_argument("--out", type=Path, default=Path("runs/study_start"))
    parser.add_argument("--write", type=Path, help="a Markdown file with marks `start`")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train from each start, and print what comes of it."""
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    cache = first_photos(args.cache, args.photos, args.out / "codes.parquet")
    lines = []
    for start in args.starts.split(","):
        head = load_head(train(start, cache, args.minutes, args.out / Path(start).stem))
        scores = dense_scores(head, cache, COUNTS)
        lines.append([NAMES.get(start, f"`{start}`"), *(f"{100 * score.value:.1f}" for score in scores)])
    photos = len(set(CodeDataset(cache, TRAIN).keys))
    text = table(
        [f"top-1 %, {photos} photos, {args.minutes:g} min", *(f"{count} tokens" for count in COUNTS)], lines
    )
    print(text)
    if args.write is not None:
        replace_part(args.write, "start", text)


if __name__ == "__main__":
    main()
