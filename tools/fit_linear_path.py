"""Measure the linear path's statistics over training photographs, for `onedpiece.weights.untrained`.

    python -m tools.fit_linear_path data/train/train-*.tar --preset ti-256

writes onedpiece/weights/ti-256-linear.safetensors (about half a minute for 18,339 photographs).
"""

import argparse
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import torch
from safetensors.torch import save_file

from onedpiece.codec.tensors import to_tensor
from onedpiece.tokenizer import Tokenizer, preset
from tools.shards import read_shards

WEIGHTS = Path(__file__).resolve().parents[1] / "onedpiece" / "weights"


def batches(archives: list[Path], size: int = 64) -> Iterator[torch.Tensor]:
    """Yield the archives' pictures in batches (B, 3, H, W) in [0, 1]."""
    pictures = chain.from_iterable(map(read_shards, archives))
    while batch := list(islice(pictures, size)):
        yield to_tensor(batch)


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "archives", nargs="+", type=Path, help="WebDataset shards of pictures of the model's size"
    )
    parser.add_argument("--preset", default="ti-256")
    arguments = parser.parse_args()
    path = Tokenizer(preset(arguments.preset)).linear_path
    if path is None:
        parser.error(f"{arguments.preset} has no linear path")
    path.fit(batches(arguments.archives))
    out = WEIGHTS / f"{arguments.preset}-linear.safetensors"
    save_file(path.state_dict(), out)
    print(f"{out}: {len(path.order)} coefficients of {3 * path.size**2}")


if __name__ == "__main__":
    main()
