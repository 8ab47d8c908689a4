"""A photo's code cut to a quality: what its decoded prefixes score, and what they are expected to."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.codec.model import EncodeResult, LoadedModel, decode_square
from onedpiece.codec.tensors import Photo, no_larger, resize, to_image
from onedpiece.metrics.pixel import ImageScorer, image_psnr, missing_torch, psnr_scorer
from onedpiece.rate.search import SearchResult, find_min_tokens, find_min_tokens_gp
from onedpiece.rate.target import QualityTarget

FAITHFUL_METRICS = ("psnr", "ssim")
"""A file made for one of them asks to be decoded faithfully, so that what was reached is what is shown."""

SSIM_SHARES = (0.0, 0.05, 0.19, 0.5, 1.0)
"""Prefixes, as shares of all tokens, whose linear pictures are scored to estimate the SSIM curve."""

MIN_SSIM_PER_DB = 0.012
"""The least SSIM that a dB of estimated PSNR is worth: the network does not ring, as linear pictures do."""

NETWORK_SSIM = 0.005
"""What the network's picture scores above the linear one, in the mean."""

MAX_SQUARES = 4
"""Photos of more pixels than this many squares of the model are scored smaller to estimate their SSIM."""


def reach_square(model: LoadedModel, photo: Photo, code: Code, target: QualityTarget) -> EncodeResult:
    """Cut a photo's whole code to a quality, or where that is out of reach to the best there is.

    Raises:
        ValueError: the photo's size is none for the metric.
    """
    code = replace(code, faithful=wants_faithful(model, target))
    found = reach(model, photo, code, target)
    return EncodeResult(code.first(found.tokens), found)


def wants_faithful(model: LoadedModel, target: QualityTarget) -> bool:
    """Whether a file made for a quality asks to be decoded faithfully: as it was when it was measured."""
    return target.metric in FAITHFUL_METRICS or not model.has_sharp


def reach(model: LoadedModel, photo: Photo, code: Code, target: QualityTarget) -> SearchResult:
    """Search for about the fewest tokens of a photo's code that reach a quality, or for the best there is.

    The guarantee is that of `rate.search.find_min_tokens_gp`; of `find_min_tokens` for a PSNR or an SSIM
    that the model cannot estimate.

    Args:
        model: made the code.
        photo: what was encoded.
        code: all of its tokens.
        target: what the decoded file is to reach, at the photo's own size.

    Raises:
        ValueError: the photo's size is none for the metric.
    """
    score = scorer_beside(target.metric, photo.image)

    def measure(tokens: int) -> float:
        return score([decode_square(model, code[:tokens], photo.size)])[0]

    if target.metric == "lpips":
        return find_min_tokens_gp(target, measure, len(code), None)
    psnr_curve = forecast = estimate_psnr_curve(model, photo, code)
    if target.metric == "ssim" and psnr_curve is not None:
        forecast = estimate_ssim_curve(model, photo, code, psnr_curve, score)
    if forecast is None:
        return find_min_tokens(target, measure, len(code), psnr_curve)
    return find_min_tokens_gp(target, measure, len(code), forecast)


def scorer_beside(metric: str, photo: Image.Image) -> ImageScorer:
    """Return what scores pictures by `metric` beside a photo; what needs torch loads it.

    Raises:
        ValueError: the photo is too small or too large for the metric.
        MissingExtraError: torch is not installed.
    """
    if metric == "psnr":
        return psnr_scorer(photo)
    try:
        from onedpiece.metrics.registry import image_scorer
    except ModuleNotFoundError as error:
        raise missing_torch(metric) from error
    return image_scorer(metric, photo)


def estimate_psnr_curve(model: LoadedModel, photo: Photo, code: Code) -> list[float] | None:
    """Estimate the PSNR of every prefix of a photo's code, in dB; None if the model cannot tell.

    It is that of the decoded file, at the photo's own size: what resizing loses comes on top.
    """
    lost = model.estimate_errors(photo.pixels(model.image_size)[None], code.indices[None])
    if lost is None:
        return None
    square = (model.image_size, model.image_size)
    small = no_larger(resize(photo.image, square), photo.size)
    resized = 10 ** (-image_psnr(photo.image, small) / 10)
    return [float(decibels) for decibels in -10 * np.log10(resized + lost[0])]


def estimate_ssim_curve(
    model: LoadedModel, photo: Photo, code: Code, psnr_curve: Sequence[float], score: ImageScorer
) -> list[float] | None:
    """Estimate the SSIM of every prefix of a photo's code; None if the model cannot tell.

    It is that of a few linear pictures, and between them goes with the PSNR; no network runs.

    Args:
        model: made the code.
        photo: what was encoded.
        code: all of its tokens.
        psnr_curve: (N,), as `estimate_psnr_curve` gives it.
        score: of SSIM beside the photo.
    """
    places = sorted({round(share * (len(code) - 1)) for share in SSIM_SHARES})
    linear = model.linear_pictures([code.indices[: place + 1] for place in places])
    if linear is None:
        return None
    pictures = [to_image(picture) for picture in linear]
    scores = _score_small(photo.image, pictures, model.image_size, score)
    decibels = np.maximum.accumulate(np.asarray(psnr_curve)) + 1e-6 * np.arange(len(code))
    gains = np.diff(decibels[places])
    rises = np.maximum(np.diff(scores), MIN_SSIM_PER_DB * gains)
    rising = scores[0] + NETWORK_SSIM + np.concatenate([[0.0], np.cumsum(rises)])
    return [float(score) for score in np.interp(psnr_curve, decibels[places], rising)]


def _score_small(
    photo: Image.Image, pictures: Sequence[Image.Image], side: int, score: ImageScorer
) -> list[float]:
    """Return the SSIM of small pictures beside a photo, worst to best.

    A large photo is scored as a square of `side` pixels, and only the two ends at its own size, between which
    the others keep their places.
    """
    size, square = photo.size, (side, side)
    if size[0] * size[1] <= MAX_SQUARES * side**2:
        return score([resize(picture, size) for picture in pictures])
    small = scorer_beside("ssim", resize(photo, square))([resize(picture, square) for picture in pictures])
    first, last = score([resize(picture, size) for picture in (pictures[0], pictures[-1])])
    stretch = (last - first) / max(small[-1] - small[0], 1e-3)
    return [first + stretch * (value - small[0]) for value in small]
