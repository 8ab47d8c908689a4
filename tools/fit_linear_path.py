"""Measure the linear path's statistics over training photographs, for `onedpiece.weights.initial`.

    python tools/fit_linear_path.py ../shared/data/train/train-*.tar --preset ti-256

writes onedpiece/weights/ti-256-linear.safetensors (about half a minute for 18,339 photographs).
"""

import argparse
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from onedpiece.tokenizer import Tokenizer, preset

WEIGHTS = Path(__file__).resolve().parents[1] / "onedpiece" / "weights"


def pictures(archives: list[Path], batch: int = 64) -> Iterator[torch.Tensor]:
    """Yield the archives' pictures in batches (B, 3, H, W) in [0, 1]."""
    held: list[torch.Tensor] = []
    for archive in archives:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name.endswith((".webp", ".png", ".jpg")):
                    picture = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")
                    held.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
                if len(held) == batch:
                    yield torch.stack(held).float() / 255
                    held = []
    if held:
        yield torch.stack(held).float() / 255


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "archives", nargs="+", type=Path, help="WebDataset shards of pictures of the model's size"
    )
    parser.add_argument("--preset", default="ti-256")
    arguments = parser.parse_args()
    path = Tokenizer(preset(arguments.preset)).linear_path
    path.fit(pictures(arguments.archives))
    out = WEIGHTS / f"{arguments.preset}-linear.safetensors"
    save_file(path.state_dict(), out)
    print(f"{out}: {len(path.order)} coefficients of {3 * path.size**2}")


if __name__ == "__main__":
    main()
