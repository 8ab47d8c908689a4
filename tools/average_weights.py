"""Write the mean of two trainings' weights: often better than either where both have one beginning.

    python -m tools.average_weights BEFORE AFTER --share 0.4 --parts decoder --out FOLDER
        [--gain 1.43,1.19]
    python -m tools.average_weights ONE.safetensors OTHER.safetensors --share 0.7 --out HEAD.safetensors

Takes `--share` of AFTER and the rest of BEFORE, in the parts of the tokenizer that are named (all by
default); everything else is BEFORE's. The bundled decoder and sharp network are such means.
`--gain` sets how much of the sharp network's detail is drawn, for 1 token and for 256. Files are heads, and
their mean's note is the second's.

Source: model soups, arXiv 2203.05482.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch

from onedpiece.heads import Head, load_head
from onedpiece.heads.checkpoint import save_head
from onedpiece.tokenizer import Tokenizer
from onedpiece.weights import load_tokenizer, save

GAIN = "sharp.gain"
M = TypeVar("M", Tokenizer, Head)


def average(before: M, after: M, share: float, parts: Sequence[str] = ()) -> M:
    """Move `before`'s weights by `share` of the way to `after`'s, in place, and return it.

    Args:
        before: any tokenizer or head.
        after: one of the same geometry that reads the same codes.
        share: 0 (before) to 1 (after).
        parts: first words of the names of what moves, as in ("decoder",); empty: all weights.

    Raises:
        ValueError: the geometries or the statistics of the tokens differ, a part has no weights, or the share
            is out of range.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; give 0 (all of the first) to 1 (all of the second)")
    if before.config != after.config:
        raise ValueError("the two have different geometries")
    ours, theirs = before.state_dict(), after.state_dict()
    weights = dict(before.named_parameters())
    learned = [name for name in weights if not parts or name.split(".")[0] in parts]
    if missing := set(parts) - {name.split(".")[0] for name in learned}:
        raise ValueError(f"no weights begin with {', '.join(sorted(missing))}")
    fixed = ours.keys() - weights.keys() - {GAIN}
    if any(not torch.equal(ours[name], theirs[name]) for name in fixed):
        raise ValueError("the two read tokens by different statistics")
    moved = {name: torch.lerp(ours[name], theirs[name], share) for name in learned}
    before.load_state_dict(ours | moved)
    return before


def average_files(before: str, after: str, args: argparse.Namespace) -> Path:
    """Write the mean of two folders of weights, or of two head files, and return where it is."""
    parts = args.parts.split(",") if args.parts else []
    if Path(before).is_file():
        one, other = load_head(before), load_head(after)
        if one.code_space != other.code_space:
            raise ValueError("the two read other codes")
        return save_head(
            average(one.head, other.head, args.share, parts), args.out, one.code_space, other.note
        )
    mean = average(load_tokenizer(before), load_tokenizer(after), args.share, parts)
    if args.gain:
        mean.get_buffer(GAIN).copy_(torch.tensor([float(each) for each in args.gain.split(",")]))
    return save(mean, args.out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("before", help="a folder of weights, a name, or a head's file")
    parser.add_argument("after")
    parser.add_argument("--share", type=float, default=0.5, help="of AFTER, 0 to 1")
    parser.add_argument("--parts", default="", help="of the tokenizer, by commas; all by default")
    parser.add_argument("--gain", help="of the sharp look, for 1 token and for 256; BEFORE's by default")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    try:
        print(f"weights are in {average_files(args.before, args.after, args)}")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
