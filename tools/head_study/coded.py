"""Photos as WebP leaves them at the bytes of our files: what the networks on pixels are shown."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.codec.tensors import resize, to_tensor
from onedpiece.codec.view import apply_view, view_named
from onedpiece.evaluation.baselines import candidates, restore
from onedpiece.evaluation.formats import image_format
from onedpiece.metrics.pixel import psnr
from onedpiece.training.codes.base import Example
from onedpiece.training.codes.cache_file import Rows

COUNTS = (8, 16, 32, 64, 128, 256)
"""Tokens of our files; WebP gets the bytes that each photo's own file of so many tokens has."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Coder:
    """The photos and the files of a cache's rows.

    Args:
        codec: made the cache.
        examples: the photos of the cache, by key.
        rows: of the cache.
    """

    codec: Codec
    examples: dict[str, Example]
    rows: Rows

    def file_bytes(self, row: int, count: int) -> int:
        """Return the size of a row's file of `count` tokens."""
        return len(self._code(row, count).to_bytes())

    def _code(self, row: int, count: int) -> Code:
        codec = self.codec
        codebook = codec.tokenizer.config.codebook_size
        return Code(self.rows.codes[row, :count].astype(np.int64), codebook, codec.fingerprint)

    def picture(self, row: int) -> Image.Image:
        """Return a row's view of its photo, as it was tokenized."""
        key = self.rows.keys[row]
        view = view_named(self.rows.variants[row], key)
        return resize(
            apply_view(self.examples[key].load().image, view), (self.codec.image_size, self.codec.image_size)
        )


def best_webp_file(image: Image.Image, budget: int) -> bytes:
    """Return the WebP file of best PSNR, over all scales and qualities, of at most `budget` bytes.

    Empty where none is small enough.
    """
    fmt = image_format("webp")
    files = candidates(image, fmt, [budget])
    if not files:
        return b""
    images = [restore(fmt, file.data, image.size) for file in files]
    return files[int(psnr(to_tensor([image]), to_tensor(images)).argmax())].data


def webp_pixels(data: bytes, size: tuple[int, int]) -> Pixels:
    """Return the picture of a file, brought back to `size`; grey where there is none."""
    if not data:
        return np.full((size[1], size[0], 3), 128, np.uint8)
    return np.asarray(restore(image_format("webp"), data, size))
