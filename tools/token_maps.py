"""Draw what the tokens mean: where each one acts, how much each one adds, and which photos share the first.

    python -m tools.token_maps --data PHOTOS --out maps [--photos 16]

Writes contributions.png, gains.png, clusters.png and token_maps.json into the folder.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from PIL import Image

import onedpiece
from onedpiece._progress import progress_bar
from onedpiece.codec.tensors import to_tensor
from onedpiece.evaluation.photos import Photo, read_photos
from onedpiece.evaluation.token_analysis import Gain, contribution_maps, first_token_clusters, marginal_gains

POSITIONS = (0, 1, 2, 3, 5, 7, 11, 15, 23, 31, 47, 63, 95, 127, 191, 255)
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_THUMB = 96  # pixels, in clusters.png
_PER_CLUSTER = 10


def draw_contributions(maps: torch.Tensor, positions: Sequence[int]) -> Figure:
    """Draw (P, H, W) maps in a grid, each on a scale of its own: early tokens outshine late ones."""
    columns = min(4, len(positions))
    rows = -(-len(positions) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, values, at in zip(panels, maps, positions, strict=False):
        panel.imshow(values.numpy(), cmap="magma", vmin=0)
        panel.set_title(f"token {at + 1}: up to {255 * float(values.max()):.1f} levels", fontsize=8)
    for panel in panels:
        panel.axis("off")
    return figure


def draw_gains(gains: Sequence[Gain]) -> Figure:
    """Draw PSNR over the token count, and the gain of each token."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    quality, gain = figure.subplots(1, 2)
    quality.plot([g.tokens for g in gains], [g.psnr for g in gains], marker="o")
    quality.set_ylabel("PSNR, dB")
    later = [(g.tokens, g.per_token) for g in gains if g.per_token is not None]
    gain.plot([tokens for tokens, _ in later], [db for _, db in later], marker="o")
    gain.set_ylabel("gain of one more token, dB")
    if all(db > 0 for _, db in later):
        gain.set_yscale("log")
    for panel in (quality, gain):
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.set_xlabel("tokens")
        panel.grid(alpha=0.3)
    return figure


def draw_clusters(photos: Sequence[Photo], groups: torch.Tensor) -> Image.Image:
    """Draw one row of photos a group, the largest group first."""
    order = torch.bincount(groups).argsort(descending=True).tolist()
    sheet = Image.new("RGB", (_THUMB * _PER_CLUSTER, _THUMB * len(order)), "white")
    for down, group in enumerate(order):
        members = [photo for photo, g in zip(photos, groups.tolist(), strict=True) if g == group]
        for across, photo in enumerate(members[:_PER_CLUSTER]):
            sheet.paste(photo.image.resize((_THUMB, _THUMB)), (across * _THUMB, down * _THUMB))
    return sheet


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder of photos")
    parser.add_argument("--out", type=Path, required=True, help="a folder for the pictures")
    parser.add_argument("--model", help="a name or a folder")
    parser.add_argument("--photos", type=int, default=16, help="how many to average maps and gains over")
    parser.add_argument("--clusters", type=int, default=8)
    parser.add_argument("--threads", type=int)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    args = parse(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    codec = onedpiece.load(args.model)
    photos = read_photos([args.data], codec.tokenizer.config.image_size).photos
    positions = [at for at in POSITIONS if at < codec.num_tokens]
    counts = [count for count in COUNTS if count <= codec.num_tokens]
    codes = torch.stack([torch.tensor(codec.encode(photo.image).indices) for photo in photos])
    some = to_tensor([photo.image for photo in photos[: args.photos]])
    with progress_bar("Swapping tokens") as progress:
        maps = contribution_maps(codec.tokenizer, codes[: args.photos], positions, progress)
    with progress_bar("Counting tokens") as progress:
        gains = marginal_gains(codec.tokenizer, some, counts, progress)
    groups = first_token_clusters(codec.tokenizer, codes, min(args.clusters, len(photos)))
    args.out.mkdir(parents=True, exist_ok=True)
    draw_contributions(maps, positions).savefig(args.out / "contributions.png", dpi=120)
    draw_gains(gains).savefig(args.out / "gains.png", dpi=120)
    draw_clusters(photos, groups).save(args.out / "clusters.png")
    report = {
        "photos": len(some),
        "mean_change": dict(zip([at + 1 for at in positions], maps.mean((1, 2)).tolist(), strict=True)),
        "gains": [gain._asdict() for gain in gains],
        "clusters": {photo.name: group for photo, group in zip(photos, groups.tolist(), strict=True)},
    }
    (args.out / "token_maps.json").write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
