"""Compare placeholders with BlurHash and ThumbHash at equal size, as PSNR, SSIM and LPIPS means over photos.

    python -m tools.bench_placeholder --data PHOTOS --write onedpiece/web/README.md

Minutes on one core for 100 photos; needs the extra [formats] and LPIPS's weights. Photos are 256×256 squares.
Ours is the linear picture that odp.js draws, enlarged by bicubic interpolation like the others' 64×64, with
as many tokens as fit what the other takes. ThumbHash has one setting; BlurHash has the best of its component
counts within the size, chosen anew for each photo and metric; ours has nothing to choose. Sizes are counted
in two ways: in bytes, and in the characters of an HTML attribute, where ThumbHash and ours are base64.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.codec.tensors import to_tensor
from onedpiece.evaluation.formats import BlurHash, ThumbHash
from onedpiece.evaluation.photos import read_photos
from onedpiece.metrics.registry import Scorer
from onedpiece.web.placeholder import MAX_TOKENS, linear_picture, payload_of
from onedpiece.weights import load
from tools.markdown import replace_part, table

METRICS = {"psnr": 2, "ssim": 3, "lpips": 3}
"""Digits by metric."""

SIDE = 256
BLURHASH_SIZES = (28, 40)  # characters; 28 are the 4×3 components of its own examples
PART = "placeholders"

Scores = dict[str, float]


class Row(NamedTuple):
    """One codec at one size, as means over the photos."""

    name: str
    size: float  # bytes, or characters
    scores: Scores


def characters(size: int) -> int:
    """Return how many characters of base64 without padding say so many bytes."""
    return -(-4 * size // 3)


def blurhashes(image: Image.Image, most: int) -> Iterator[bytes]:
    """Yield the hashes of at most `most` characters with as many components as fit beside each other."""
    import blurhash

    highest = [min(9, (most - 4) // 2 // wide) for wide in range(1, 10)]  # a hash has 4 + 2 · wide · high
    for wide, high in enumerate(highest, start=1):
        if high and (wide == 9 or highest[wide] < high):  # else a wider one has as many rows
            small = image.resize((64, 64), Image.Resampling.BOX)  # which the library closes
            yield str(blurhash.encode(small, wide, high)).encode("ascii")


def fitted(code: Code, fits: Callable[[int], bool]) -> Code:
    """Return the longest prefix whose payload's size in bytes fits."""
    return next(code[:k] for k in range(len(code), 0, -1) if fits(len(payload_of(code[:k])[0])))


class Bench:
    """Scores pictures of one photo after the other.

    Args:
        codec: ours.
        scorer: of METRICS.
    """

    def __init__(self, codec: Codec, scorer: Scorer) -> None:
        self.codec, self.scorer = codec, scorer
        self.found: dict[str, list[tuple[int, Scores]]] = {}

    def add(self, image: Image.Image) -> None:
        """Score one photo."""
        code = self.codec.encode(image, tokens=min(MAX_TOKENS, self.codec.num_tokens))
        hash_ = ThumbHash().encode(image, 1)
        self._note("ThumbHash", image, [ThumbHash().decode(hash_)], len(hash_))
        self._ours("onedpiece, as many bytes as ThumbHash", image, code, len(hash_).__ge__)
        for most in BLURHASH_SIZES:
            made = list(blurhashes(image, most))
            size = max(map(len, made))
            self._note(f"BlurHash, {most}", image, [BlurHash().decode(each) for each in made], size)
            self._ours(f"onedpiece, as many bytes as BlurHash, {most}", image, code, most.__ge__)
            self._ours(
                f"onedpiece, as many characters as BlurHash, {most}",
                image,
                code,
                lambda size, most=most: characters(size) <= most,  # type: ignore[misc]
            )

    def _ours(self, name: str, image: Image.Image, code: Code, fits: Callable[[int], bool]) -> None:
        cut = fitted(code, fits)
        self._note(name, image, [linear_picture(self.codec, cut)], len(payload_of(cut)[0]))

    def _note(self, name: str, image: Image.Image, pictures: Sequence[Image.Image], size: int) -> None:
        large = [picture.resize(image.size, Image.Resampling.BICUBIC) for picture in pictures]
        reference, candidates = to_tensor([image]), to_tensor(large)
        scores = {}
        for metric in self.scorer.metrics:
            values = self.scorer.score(metric.name, reference, candidates)
            scores[metric.name] = max(values) if metric.higher_is_better else min(values)
        self.found.setdefault(name, []).append((size, scores))

    def rows(self) -> list[Row]:
        """Return the means, in the order of the names."""
        return [
            Row(
                name,
                fmean(size for size, _ in found),
                {metric: fmean(scores[metric] for _, scores in found) for metric in found[0][1]},
            )
            for name, found in self.found.items()
        ]


def to_markdown(rows: Sequence[Row], photos: int) -> str:
    """Return the rows as a table; sizes in bytes, which are BlurHash's characters."""
    lines = [
        [row.name, f"{row.size:.1f}", *(f"{row.scores[name]:.{digits}f}" for name, digits in METRICS.items())]
        for row in rows
    ]
    titles = {"psnr": "PSNR, dB, ↑", "ssim": "SSIM ↑", "lpips": "LPIPS ↓"}
    header = [f"{photos} photos, means", "bytes", *(titles[name] for name in METRICS)]
    return table(header, lines)


def main(argv: list[str] | None = None) -> int:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder of photos")
    parser.add_argument("--write", type=Path, help=f"a file whose part {PART!r} becomes the table")
    args = parser.parse_args(argv)
    bench, photos = Bench(load(), Scorer(list(METRICS))), read_photos([args.data], SIDE).photos
    for at, photo in enumerate(photos, start=1):
        bench.add(photo.image)
        print(f"\r{at} of {len(photos)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    text = to_markdown(bench.rows(), len(photos))
    print(text)
    if args.write:
        replace_part(args.write, PART, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
