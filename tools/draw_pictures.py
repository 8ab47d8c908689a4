"""Draw pictures to train on where there are no photos: simple scenes, each of its own size.

    python -m tools.draw_pictures data/photos --count 64

The scenes are those whose depth `configs/head_depth_synthetic.yaml` learns; the same seed draws the same one.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from onedpiece.training.codes.depth_sources import render

SIDES = (160, 192, 224)
"""Pixels a side of what is rendered; a third is cut off on one side, so that pictures are not square."""


def draw(seed: int) -> Image.Image:
    """Return the picture of a seed: lying or upright, three by two."""
    generator = np.random.default_rng(seed)
    side = int(generator.choice(SIDES))
    picture = Image.fromarray(render(seed, side).pixels)
    short = side * 2 // 3
    box = (0, side - short, side, side) if generator.random() < 0.5 else (0, 0, short, side)
    return picture.crop(box)


def main(argv: Sequence[str] | None = None) -> None:
    """Write `--count` PNGs into a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="made where it is not there")
    parser.add_argument("--count", type=int, default=64)
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    for seed in range(args.count):
        draw(seed).save(args.folder / f"{seed:04d}.png")
    sys.stdout.write(f"{args.folder}: {args.count} pictures\n")


if __name__ == "__main__":
    main()
