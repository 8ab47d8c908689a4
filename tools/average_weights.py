"""Write the mean of two trainings' weights: often better than either where one started from the other.

    python -m tools.average_weights BEFORE AFTER --share 0.4 --parts decoder --out FOLDER
        [--gain 1.43,1.19]

Takes `--share` of AFTER and the rest of BEFORE, in the parts of the tokenizer that are named (all by
default); everything else is BEFORE's. The bundled decoder is such a mean, and so is the sharp network.
`--gain` sets how much of the sharp network's detail is drawn, for 1 token and for 256.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from onedpiece.tokenizer import Tokenizer
from onedpiece.weights import load_tokenizer, save


def average(before: Tokenizer, after: Tokenizer, share: float, parts: Sequence[str] = ()) -> Tokenizer:
    """Move `before`'s weights by `share` of the way to `after`'s, in place, and return it.

    Args:
        before: any tokenizer.
        after: one of the same geometry and code space.
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
    learned = [name for name, _ in before.named_parameters() if not parts or name.split(".")[0] in parts]
    if missing := set(parts) - {name.split(".")[0] for name in learned}:
        raise ValueError(f"no weights begin with {', '.join(sorted(missing))}")
    fixed = [name for name in ours if name.startswith("linear_path.")]
    if any(not torch.equal(ours[name], theirs[name]) for name in fixed):
        raise ValueError("the two read tokens by different statistics")
    moved = {name: torch.lerp(ours[name], theirs[name], share) for name in learned}
    before.load_state_dict(ours | moved)
    return before


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("before", help="a folder of weights, or a name")
    parser.add_argument("after")
    parser.add_argument("--share", type=float, default=0.5, help="of AFTER, 0 to 1")
    parser.add_argument("--parts", default="", help="of the tokenizer, by commas; all by default")
    parser.add_argument("--gain", help="of the sharp look, for 1 token and for 256; BEFORE's by default")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    parts = args.parts.split(",") if args.parts else []
    try:
        mean = average(load_tokenizer(args.before), load_tokenizer(args.after), args.share, parts)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if args.gain:
        mean.get_buffer("sharp.gain").copy_(torch.tensor([float(each) for each in args.gain.split(",")]))
    print(f"weights are in {save(mean, args.out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
