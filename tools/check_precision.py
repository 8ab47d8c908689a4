"""What networks in half precision cost in dB: `Codec.to(dtype=)` beside float32, in both looks.

    python -m tools.check_precision --data PHOTOS [--photos 4] [--tokens 64,256] [--dtypes bfloat16,float16]

Half precision pays on an accelerator and on processors with bfloat16 units; others compute the same numbers
ten times slower. Tokens are float32's in any case; the tool ends with status 1 where one differs.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import onedpiece
from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.codec.find import find_images
from onedpiece.codec.images import read_picture
from onedpiece.codec.tensors import to_tensor
from onedpiece.metrics.pixel import psnr

LOOKS = {"faithful": 0.0, "sharp": 1.0}


@dataclass(frozen=True)
class Cost:
    """What one dtype does to one look at one token count.

    Attributes:
        dtype: its name.
        look: "faithful" or "sharp".
        tokens: of each code.
        before: dB of float32's pictures beside the photos, mean.
        change: dB that the dtype adds to that, mean.
        worst: the most that it adds or takes for one photo, in dB.
        levels: the largest difference of a pixel, of 255.
    """

    dtype: str
    look: str
    tokens: int
    before: float
    change: float
    worst: float
    levels: float


def decoded(codec: Codec, codes: Sequence[Code], tokens: int, sharpness: float) -> Tensor:
    """Decode prefixes, one at a time, at 8 bits: (B, 3, H, W) in [0, 1]."""
    return to_tensor([codec.decode(code, tokens, sharpness=sharpness) for code in codes])


def costs(codec: Codec, photos: Tensor, counts: Sequence[int], dtypes: Sequence[str]) -> list[Cost]:
    """Compare each dtype with float32.

    Args:
        codec: in float32; is so again afterwards.
        photos: (B, 3, H, W) in [0, 1], of the model's size.
        counts: tokens to decode.
        dtypes: names of torch's.

    Raises:
        RuntimeError: a token differs.
    """
    codes = codec.encode_batch(photos)
    looks = [look for look, sharpness in LOOKS.items() if not sharpness or codec.model.has_sharp]
    cases = [(count, look) for count in counts for look in looks]
    plain = {case: decoded(codec, codes, case[0], LOOKS[case[1]]) for case in cases}
    found = []
    for name in dtypes:
        codec.to(dtype=getattr(torch, name))
        if codec.encode_batch(photos) != codes:
            raise RuntimeError(f"{name} changes tokens")
        for count, look in cases:
            pictures = decoded(codec, codes, count, LOOKS[look])
            before, after = psnr(plain[count, look], photos), psnr(pictures, photos)
            change = (after - before).numpy()
            worst = change[np.abs(change).argmax()]
            levels = float((pictures - plain[count, look]).abs().max()) * 255
            cost = Cost(name, look, count, float(before.mean()), float(change.mean()), float(worst), levels)
            print(row(cost), file=sys.stderr, flush=True)
            found.append(cost)
    codec.to(dtype=torch.float32)
    return found


def row(cost: Cost) -> str:
    """One line of the table."""
    return (
        f"| {cost.dtype} | {cost.look} | {cost.tokens} | {cost.before:.2f} | {cost.change:+.4f} "
        f"| {cost.worst:+.4f} | {cost.levels:.0f} |"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--tokens", default="64,256")
    parser.add_argument("--dtypes", default="bfloat16,float16")
    parser.add_argument("--model", help="a name or a folder; the bundled one by default")
    parser.add_argument("--threads", type=int, help="torch's; its own choice by default")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    codec = onedpiece.load(args.model)
    size = codec.image_size, codec.image_size
    paths = find_images(args.data).paths[: args.photos]
    photos = to_tensor([read_picture(path).resize(size) for path in paths])
    counts = [int(each) for each in args.tokens.split(",")]
    try:
        found = costs(codec, photos, counts, args.dtypes.split(","))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print("| networks in | look | tokens | float32, dB | change, dB | worst photo, dB | pixel, levels |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for cost in found:
        print(row(cost))
    return 0


if __name__ == "__main__":
    sys.exit(main())
