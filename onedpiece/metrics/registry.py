"""Metrics by name at work: one score a picture, on what an 8-bit screen shows.

`Scorer` scores batches of tensors for comparisons, `image_scorer` PIL images beside one photo for a search.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from onedpiece.errors import MissingWeightsError
from onedpiece.metrics.descriptors import METRICS, Metric, metric
from onedpiece.metrics.perceptual import Lpips
from onedpiece.metrics.pixel import (
    ImageScorer,
    ms_ssim,
    psnr,
    psnr_scorer,
    round_to_8_bits,
    ssim,
    ssim_reference,
)

_CHUNK = 4  # pictures scored at once: more take a worker past a gigabyte and are no faster
_LPIPS_NETS = {"lpips": "alex", "lpips-squeeze": "squeeze"}
_PIXEL_METRICS = {"psnr": psnr, "ssim": ssim, "ms-ssim": ms_ssim}

MAX_PIXELS = 16_000_000  # SSIM and LPIPS hold the photo's feature maps, about 150 bytes a pixel


class Scorer:
    """Scores pictures by any of the named metrics; the networks of LPIPS are loaded once.

    Args:
        names: of the metrics; one given twice counts once.
        device: where to compute, as torch names it.

    Raises:
        ValueError: an unknown name.
        MissingWeightsError: the weights of LPIPS are neither on the machine nor to be downloaded.
    """

    def __init__(self, names: Sequence[str], device: str | torch.device = "cpu") -> None:
        self.metrics: list[Metric] = []
        self.device = torch.device(device)
        self._lpips: dict[str, Lpips] = {}
        for each in dict.fromkeys(metric(name) for name in names):
            self.add(each)

    def add(self, wanted: Metric) -> None:
        """Take in one more metric.

        Raises:
            MissingWeightsError: as the class says.
        """
        if wanted.name in _LPIPS_NETS:
            self._lpips[wanted.name] = Lpips(_LPIPS_NETS[wanted.name])
        self.metrics.append(wanted)

    @torch.no_grad()
    def score(self, name: str, reference: Tensor, images: Tensor) -> list[float]:
        """Return one score a picture by the metric `name`; shapes as in `psnr`."""
        reference, images = (round_to_8_bits(x.to(self.device)) for x in (reference, images))
        lpips = self._lpips.get(name)
        score: Callable[[Any, Tensor], Tensor] = lpips or _PIXEL_METRICS[name]
        references: Iterable[Any]
        if len(reference) == len(images):
            references = torch.split(reference, _CHUNK)
        else:
            references = repeat(lpips.features(reference) if lpips else reference)  # once for all candidates
        pairs = zip(references, torch.split(images, _CHUNK), strict=False)
        return [value for of, chunk in pairs for value in score(of, chunk).tolist()]


class AvailableScorer(NamedTuple):
    """A scorer of those metrics that can be computed here, and one line for each that cannot."""

    scorer: Scorer
    missing: list[str]


def available_scorer(names: Sequence[str], device: str | torch.device = "cpu") -> AvailableScorer:
    """Load the metrics `names`, leaving out those whose weights cannot be had.

    Raises:
        ValueError: an unknown name, or none is left.
    """
    scorer, missing = Scorer((), device), list[str]()
    for each in dict.fromkeys(metric(name) for name in names):
        try:
            scorer.add(each)
        except MissingWeightsError as error:
            missing.append(f"{each.label} is left out: {error}")
    if not scorer.metrics:
        raise ValueError("; ".join(missing) or "no metric was asked for")
    return AvailableScorer(scorer, missing)


def image_scorer(metric: str, photo: Image.Image) -> ImageScorer:
    """Return what scores pictures by `metric` ("psnr", "ssim" or "lpips") beside an RGB photo.

    Raises:
        ValueError: the photo is too small or too large for the metric.
        MissingWeightsError: the weights of LPIPS cannot be had.
    """
    if metric == "psnr":
        return psnr_scorer(photo)
    _check_size(METRICS[metric], photo.size)
    with torch.no_grad():
        return _ssim_beside(photo) if metric == "ssim" else _lpips_beside(photo)


def _ssim_beside(photo: Image.Image) -> ImageScorer:
    reference = ssim_reference(_to_batch(photo))
    # One at a time, here and below: their feature maps are what takes memory.
    return lambda pictures: [float(ssim(reference, _to_batch(picture))) for picture in pictures]


def _lpips_beside(photo: Image.Image) -> ImageScorer:
    lpips = _lpips_alex()
    reference = lpips.features(_to_batch(photo))

    @torch.no_grad()
    def score(pictures: Sequence[Image.Image]) -> list[float]:
        return [float(lpips(reference, _to_batch(picture))) for picture in pictures]

    return score


def _check_size(metric: Metric, size: tuple[int, int]) -> None:
    if min(size) < metric.min_side:
        raise ValueError(
            f"{metric.name} needs sides of at least {metric.min_side} pixels, the photo is "
            f"{size[0]}x{size[1]}; aim at psnr instead"
        )
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(
            f"{metric.name} takes photos up to {MAX_PIXELS} pixels, this is {size[0]}x{size[1]}; aim at psnr"
        )


def _to_batch(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


@cache
def _lpips_alex() -> Lpips:
    return Lpips("alex")
