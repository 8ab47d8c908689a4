"""Print what a model is worth at 8, 16, 32, 64, 128 and 256 tokens, over a folder of photos.

    python -m tools.evaluate_tokenizer --data PHOTOS [--webp]
        [--labels PHOTOS.tsv]
        [--judge CLASSIFIER.tflite]
        [--markdown table.md] [--json table.json]

LPIPS needs the weights of AlexNet and SqueezeNet: torchvision downloads them once, or finds them by
TORCH_HOME; without them its columns are left out, and a line says so.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import onedpiece
from onedpiece.evaluation.classifier import HeldOutClassifier
from onedpiece.evaluation.photos import Photo, read_class_labels, read_photos
from onedpiece.evaluation.token_table import (
    TOKEN_COUNTS,
    Evaluators,
    TableRow,
    baseline_rows,
    markdown,
    originals_row,
    table,
    table_json,
    token_rows,
)
from onedpiece.metrics.fid import MIN_SAMPLES, inception_network
from onedpiece.metrics.registry import available_scorer

METRICS = ("psnr", "ssim", "lpips", "lpips-squeeze")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder of photos")
    parser.add_argument("--model", help="a name or a folder; 'ti-256-untrained' is the start of training")
    parser.add_argument("--tokens", default=",".join(map(str, TOKEN_COUNTS)), help="token counts, by commas")
    parser.add_argument("--sharpness", help="looks to decode, by commas, as 0,1; default: what files ask for")
    parser.add_argument("--labels", type=Path, help="TSV: file, imagenet_class_index")
    parser.add_argument("--judge", type=Path, help="a TFLite ImageNet classifier (extra: judge)")
    parser.add_argument("--webp", action="store_true", help="add rows of WebP at our files' sizes")
    parser.add_argument("--rfid", action="store_true", help=f"add rFID; at least {MIN_SAMPLES} photos")
    parser.add_argument("--first", type=int, help="only the first so many photos")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="torch's threads; as many as cores by default")
    parser.add_argument("--json", type=Path, help="write the table there as JSON")
    parser.add_argument("--markdown", type=Path, help="write the table there as Markdown")
    return parser.parse_args(argv)


def evaluate(
    args: argparse.Namespace, photos: Sequence[Photo], codec: onedpiece.Codec, evaluators: Evaluators
) -> list[TableRow]:
    """Return the originals where there is a classifier, ours, and WebP at the same sizes where asked for."""
    rows = [] if evaluators.classifier is None else [originals_row(photos, evaluators)]
    counts = [int(count) for count in args.tokens.split(",")]
    looks = [float(look) for look in args.sharpness.split(",")] if args.sharpness else [None]
    ours = [row for look in looks for row in token_rows(codec, photos, counts, evaluators, look)]
    rows += ours
    if args.webp:
        sizes = [int(row.bytes) for row in ours[: len(counts)]]
        rows += baseline_rows("webp", photos, sizes, evaluators, workers=args.threads)
    return rows


def show(rows: Sequence[TableRow], evaluators: Evaluators, title: str) -> None:
    """Print the table."""
    first, *rest = table(rows, evaluators.scorer.metrics)
    out = Table(title=title, title_justify="left")
    for column in first:
        out.add_column(column, justify="left" if column == "codec" else "right")
    for line in rest:
        out.add_row(*line)
    Console(width=None if sys.stdout.isatty() else 160).print(out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    args = parse(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    scorer, missing = available_scorer(METRICS)
    codec = onedpiece.load(args.model, device=args.device)
    found = read_photos([args.data], codec.tokenizer.config.image_size)
    for line in [*missing, *(f"{name}: {reason}" for name, reason in found.unreadable)]:
        print(line, file=sys.stderr)
    photos = found.photos[: args.first]
    if args.rfid and len(photos) < MIN_SAMPLES:
        raise ValueError(f"rFID of {len(photos)} images means nothing; give at least {MIN_SAMPLES}")
    evaluators = Evaluators(
        scorer,
        classifier=HeldOutClassifier(args.judge) if args.judge else None,
        labels=read_class_labels(args.labels) if args.labels else {},
        fid_network=inception_network() if args.rfid else None,
    )
    rows = evaluate(args, photos, codec, evaluators)
    show(rows, evaluators, f"{codec.name}, {len(photos)} photos of {args.data.name}, whole-file bytes, means")
    if args.json:
        args.json.write_text(table_json(rows, scorer.metrics), encoding="utf-8")
    if args.markdown:
        args.markdown.write_text(markdown(rows, scorer.metrics), encoding="utf-8")
    return 1 if found.unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
