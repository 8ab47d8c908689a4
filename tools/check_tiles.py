"""Tiles beside plain resize, equal shares and WebP; seams, cuts and memory.

    python -m tools.check_tiles shares --data PHOTOS              # a minute
    python -m tools.check_tiles seams --data PHOTOS               # five
    python -m tools.check_tiles table --data PHOTO.jpg... --size 1920x1280            # the README's table
    python -m tools.check_tiles cuts --data PHOTOS --files 1000   # head -c N
    python -m tools.check_tiles memory --size 6000x4000                               # minutes on one core

Each ends with status 1 where a promise is broken.
"""

import argparse
import resource
import sys
import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.codec.find import find_images
from onedpiece.codec.images import read_picture
from onedpiece.codec.tensors import resize
from onedpiece.codec.tile_grid import grid_of
from onedpiece.codec.tiles import OVERLAP, TokenizedTiles, compose, decode_tiled, fit_budget, tokenize_tiles
from onedpiece.evaluation.baselines import candidates, restore
from onedpiece.evaluation.formats import image_format
from onedpiece.metrics.pixel import image_psnr
from onedpiece.metrics.registry import image_scorer
from onedpiece.rate.allocation import allocate_equally
from onedpiece.rate.target import RateTarget
from onedpiece.weights.checkpoint import load
from tools.seams import Decoded, borders

BPP = 0.05
SEAM_SLACK = 0.05
PARTS = 6  # random parts of a photo, tiled anew, that are compared pair by pair


def photos_of(paths: Iterable[Path], size: tuple[int, int] | None = None) -> list[tuple[str, Image.Image]]:
    """Return the photos named and those of the folders named, brought to `size` where one is given."""
    files = chain.from_iterable(find_images(path).paths if path.is_dir() else [path] for path in paths)
    read = [(path.name, read_picture(path)) for path in files]
    return [(name, photo if size is None else resize(photo, size)) for name, photo in read]


def equal_code(codec: Codec, photo: TokenizedTiles, budget: int) -> Code:
    """Return the longest code of equal shares in at most `budget` bytes."""
    tiles, most = photo.indices.shape
    total = min(int(8 * budget / codec.model.bits_per_token), tiles * most)
    while len((code := compose(codec.model, photo, allocate_equally(tiles, total))).to_bytes()) > budget:
        total -= 1
    return code


def random_part(codec: Codec, photo: Image.Image, bpp: float, random: np.random.Generator) -> Decoded:
    """Return a random part of a photo, four fifths of its sides and more, as its tiles decode."""
    size = width, height = [int(random.integers(side * 4 // 5, side + 1)) for side in photo.size]
    left, top = (int(random.integers(whole - side + 1)) for whole, side in zip(photo.size, size, strict=True))
    part = photo.crop((left, top, left + width, top + height))
    code = codec.encode(part, bpp=bpp, tiles=True)
    return Decoded((left, top), codec.decode(code), grid_of(part.size, codec.image_size, OVERLAP))


def seams(codec: Codec, asked: argparse.Namespace) -> int:
    """The gradient across tile borders beside that at the same places where another tiling has no border."""
    random = np.random.default_rng(0)
    found = []
    for _, photo in photos_of(asked.data):
        parts = [random_part(codec, photo, asked.bpp, random) for _ in range(PARTS)]
        if between := borders(parts):
            found.append(np.array(between).mean(0))
    if not found:
        sys.exit("error: no photo is larger than a tile")
    across, without = np.mean(found, 0)
    error = np.std([each / same for each, same in found]) / np.sqrt(len(found))
    print(
        f"{len(found)} photos, {PARTS} tilings each: gradient across tile borders {across:.3f} of the mean, "
        f"at the same places where another tiling has none {without:.3f}: {across / without:.3f} of that, "
        f"standard error {error:.3f}"
    )
    return int(abs(across / without - 1) > SEAM_SLACK)


def shares(codec: Codec, asked: argparse.Namespace) -> int:
    """Adaptive against equal shares at equal bytes."""
    wins, gains = [], []
    for name, photo in photos_of(asked.data):
        tiled = tokenize_tiles(codec.model, photo)
        code = fit_budget(codec.model, tiled, RateTarget(bpp=asked.bpp))
        size = len(code.to_bytes())
        equal = equal_code(codec, tiled, size)
        ours, theirs = (image_psnr(photo, decode_tiled(codec.model, each)) for each in (code, equal))
        wins.append(ours > theirs)
        gains.append(ours - theirs)
        print(f"{name}: adaptive {ours:.3f} dB in {size} B, equal {theirs:.3f} in {len(equal.to_bytes())} B")
    print(f"adaptive sharing wins {sum(wins)} of {len(wins)}, {np.mean(gains):+.3f} dB in the mean")
    return int(np.mean(wins) < 0.9)


def table(codec: Codec, asked: argparse.Namespace) -> int:
    """Tiles, plain resize and WebP at equal bytes: PSNR and LPIPS."""
    print(
        "| photo | bytes | tiles, PSNR / LPIPS | plain resize (bytes) | WebP (bytes) |\n|---|---|---|---|---|"
    )
    photos = photos_of(asked.data, None if asked.mosaic else asked.size)
    if asked.mosaic:
        photos = [("mosaic", mosaic([photo for _, photo in photos], asked.size))]
    for name, photo in photos:
        score = image_scorer("lpips", photo)
        code = codec.encode(photo, bpp=asked.bpp, tiles=True)
        plain = codec.encode(photo, bpp=asked.bpp, tiles=False)
        size = len(code.to_bytes())
        webp = image_format("webp")
        shots = [(restore(webp, shot.data, photo.size), shot) for shot in candidates(photo, webp, [size])]
        cells = [_cell(photo, codec.decode(each), score) for each in (code, plain)]
        if shots:
            picture, shot = max(shots, key=lambda pair: image_psnr(photo, pair[0]))
            lowest = min(score([picture])[0] for picture, _ in shots)
            theirs = f"{image_psnr(photo, picture):.2f} dB / {lowest:.3f} ({len(shot.data)})"
        else:
            theirs = "nothing fits"
        print(
            f"| {name} {photo.width}x{photo.height} | {size} | {cells[0]} "
            f"| {cells[1]} ({len(plain.to_bytes())}) | {theirs} |"
        )
    return 0


def _cell(photo: Image.Image, picture: Image.Image, score: object) -> str:
    return f"{image_psnr(photo, picture):.2f} dB / {score([picture])[0]:.3f}"  # type: ignore[operator]


def cuts(codec: Codec, asked: argparse.Namespace) -> int:
    """`head -c N` for random N over many files: all decode, and quality falls gracefully."""
    random = np.random.default_rng(0)
    files = []
    for name, photo in photos_of(asked.data):
        files += [(name, photo, codec.encode(photo, tiles=tiles)) for tiles in (True, False)]
    drops = []
    for number in range(asked.files):
        name, photo, code = files[number % len(files)]
        data = code[: int(random.integers(1, len(code) + 1))].to_bytes()
        first = len(code[:1].to_bytes())
        end = int(random.integers(min(first + 2, len(data)), len(data) + 1))
        cut = Code.from_bytes(data[:end], codec.tables_of)
        assert cut == code[: len(cut)], f"{name}: {end} bytes are no prefix"
        picture = codec.decode(cut)
        assert picture.size == photo.size
        drops.append((len(cut) / len(code), image_psnr(photo, picture)))
    bins = [[quality for share, quality in drops if low <= share < low + 0.2] for low in np.arange(0, 1, 0.2)]
    print(f"{asked.files} cut files decode; mean PSNR by share of the tokens left, in fifths:")
    means = [float(np.mean(each)) for each in bins if each]
    print(" ".join(f"{mean:.2f}" for mean in means))
    return int(means != sorted(means))


def memory(codec: Codec, asked: argparse.Namespace) -> int:
    """Peak memory and time of a large photo, made of the free test pictures."""
    source = Image.open(Path(__file__).parents[1] / "tests" / "data" / "chelsea_451x300.png").convert("RGB")
    photo = source.resize(asked.size or (6000, 4000), Image.Resampling.BICUBIC)
    start = time.perf_counter()
    code = codec.encode(photo, bpp=asked.bpp, tiles=True)
    middle = time.perf_counter()
    picture = codec.decode(code.to_bytes())
    took = middle - start, time.perf_counter() - middle
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{photo.width}x{photo.height}: {code}, {len(code.to_bytes())} B, "
        f"{image_psnr(photo, picture):.2f} dB; "
        f"encode {took[0]:.0f} s, decode {took[1]:.0f} s, peak memory {peak:.2f} GiB"
    )
    return int(peak > 3)


CHECKS = {"shares": shares, "seams": seams, "table": table, "cuts": cuts, "memory": memory}


def mosaic(photos: list[Image.Image], size: tuple[int, int]) -> Image.Image:
    """Return small photos side by side, as a large one that is as sharp as they are."""
    wide = [photo for photo in photos if photo.width > photo.height]
    picture, at = Image.new("RGB", size), 0
    for top in range(0, size[1], wide[0].height):
        for left in range(0, size[0], wide[0].width):
            picture.paste(wide[at % len(wide)], (left, top))
            at += 1
    return picture


def _size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


def main() -> int:
    """Run one of the checks, and return its status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("--data", type=Path, nargs="+", default=[])
    parser.add_argument("--size", type=_size)
    parser.add_argument("--mosaic", action="store_true", help="table: put the photos side by side to --size")
    parser.add_argument("--bpp", type=float, default=BPP)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--model")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    return CHECKS[asked.check](load(asked.model), asked)


if __name__ == "__main__":
    sys.exit(main())
