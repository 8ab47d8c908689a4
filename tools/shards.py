"""The pictures of tar shards and folders, as the tools that fit statistics read them."""

import argparse
import tarfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import chain, islice
from pathlib import Path

from PIL import Image
from torch import Tensor

from onedpiece.codec.find import is_picture
from onedpiece.codec.images import read_picture
from onedpiece.codec.tensors import resize, to_tensor
from onedpiece.tokenizer import Tokenizer


def read_shards(path: Path) -> Iterator[Image.Image]:
    """Yield RGB pictures in the order of their names: of a file, of a tar, or of all of both in a folder."""
    if path.is_dir():
        for inside in sorted(path.iterdir()):
            yield from read_shards(inside)
    elif path.suffix == ".tar":
        yield from _in_tar(path)
    elif is_picture(path.name):
        yield read_picture(path)


def _in_tar(path: Path) -> Iterator[Image.Image]:
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isfile() and is_picture(member.name) and (file := tar.extractfile(member)):
                yield read_picture(BytesIO(file.read()))


def prefixes(tokenizer: Tokenizer, archives: Sequence[Path], count: int, fewest: int = 8) -> list[Tensor]:
    """Return codes (1, k) int64 of `count` photos, as many from each archive.

    Their lengths, from `fewest` to all tokens, are spread evenly on a logarithmic scale.
    """
    size, most = tokenizer.config.image_size, tokenizer.config.num_tokens
    fewest = min(fewest, most)
    share = -(-count // len(archives))
    pictures = chain.from_iterable(islice(read_shards(path), share) for path in archives)
    codes = []
    for number, picture in enumerate(islice(pictures, count)):
        place = number * 0.618034 % 1  # multiples of the golden ratio leave no gap
        tokens = tokenizer.tokenize(to_tensor([resize(picture, (size, size))]))
        codes.append(tokens[:, : round(fewest * (most / fewest) ** place)])
    return codes


def prefix_options(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what a tool takes that fits a model's weights anew on `prefixes` of photos."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("folder", help="of weights")
    parser.add_argument("archives", nargs="+", type=Path, help="tars or folders of photos")
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the weights made")
    return parser
