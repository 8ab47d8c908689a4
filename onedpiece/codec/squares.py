"""A whole photo as one square: many at once through the network, and one cut to a size or a quality."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from onedpiece.bitstream import Code
from onedpiece.codec.images import resize
from onedpiece.codec.model import FAITHFUL_METRICS, EncodeResult, LoadedModel
from onedpiece.codec.tensors import Photo, to_image
from onedpiece.metrics.pixel import image_psnr
from onedpiece.metrics.registry import image_scorer
from onedpiece.rate.search import SearchResult, find_min_tokens, find_min_tokens_gp
from onedpiece.rate.target import QualityTarget, RateTarget

BATCH = 32
"""Squares that go through the network together."""


def encode_squares(model: LoadedModel, photos: Sequence[Photo]) -> list[Code]:
    """Return all tokens of each photo, resized to one square."""
    if not photos:
        return []
    rows = model.tokenize(torch.stack([photo.pixels(model.image_size) for photo in photos]))
    return [model.code(row, photo.size) for row, photo in zip(rows, photos, strict=True)]


def decode_squares(model: LoadedModel, codes: Sequence[Code], sharpness: float | None = None) -> list[Tensor]:
    """Return the square of each code, (3, S, S) in [0, 1], on the model's device.

    Args:
        model: reads them.
        codes: of one square each.
        sharpness: from 0 to 1; None: what each file asks for.
    """
    looks = [model.sharpness_of(code, sharpness) for code in codes]
    squares: dict[int, Tensor] = {}
    for look in sorted(set(looks)):
        places = [place for place, each in enumerate(looks) if each == look]
        for start in range(0, len(places), BATCH):
            part = places[start : start + BATCH]
            decoded = model.detokenize([codes[place].indices for place in part], look)
            squares.update(zip(part, decoded, strict=True))
    return [squares[place] for place in range(len(codes))]


def decode_square(
    model: LoadedModel, code: Code, size: tuple[int, int], sharpness: float | None = None
) -> Image.Image:
    """Return the picture of a code of one square at `size`, (width, height)."""
    return resize(to_image(decode_squares(model, [code], sharpness)[0]), size)


def fit_square(model: LoadedModel, photo: Photo, code: Code, target: RateTarget) -> EncodeResult:
    """Cut a photo's whole code to the target; where a quality is out of reach, to the best there is.

    Raises:
        ValueError: not even one token fits the budget, or the photo's size is none for the metric.
    """
    if target.quality:
        code = replace(code, faithful=target.quality.metric in FAITHFUL_METRICS)
        found = reach(model, photo, code, target.quality)
        return EncodeResult(code.first(found.tokens), found)
    budget = target.bytes_for(photo.size)
    if budget is None:
        return EncodeResult(code if target.tokens is None else code.first(target.tokens), None)
    smallest = len(code[:1].to_bytes())
    if smallest > budget:
        text = target.budget_text(photo.size)
        raise ValueError(f"{text}; the file of one token of this code takes {smallest}")
    return EncodeResult(code.fit(budget), None)


def reach(model: LoadedModel, photo: Photo, code: Code, target: QualityTarget) -> SearchResult:
    """Search for the fewest tokens of a photo's code that reach a quality, or else for the best there is.

    The guarantee is that of `rate.search.find_min_tokens_gp` for a PSNR, of `find_min_tokens` else.

    Args:
        model: made the code.
        photo: what was encoded.
        code: all of its tokens.
        target: what the decoded file is to reach, at the photo's own size.

    Raises:
        ValueError: the photo's size is none for the metric.
    """
    score, curve = image_scorer(target.metric, photo.image), estimate_psnr_curve(model, photo, code)

    def measure(tokens: int) -> float:
        return score([decode_square(model, code[:tokens], photo.size)])[0]

    if target.metric == "psnr" and curve is not None:
        return find_min_tokens_gp(target, measure, curve)
    return find_min_tokens(target, measure, len(code), curve)


def estimate_psnr_curve(model: LoadedModel, photo: Photo, code: Code) -> list[float] | None:
    """Estimate the PSNR of every prefix of a photo's code, in dB; None if the model cannot tell.

    It is that of the decoded file, at the photo's own size: what resizing loses comes on top.
    """
    lost = model.estimate_errors(photo.pixels(model.image_size)[None], code.indices[None])
    if lost is None:
        return None
    square = (model.image_size, model.image_size)
    there_and_back = resize(resize(photo.image, square), photo.size)
    resized = 10 ** (-image_psnr(photo.image, there_and_back) / 10)
    return [float(decibels) for decibels in -10 * np.log10(resized + lost[0])]
