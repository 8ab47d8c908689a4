"""Metrics by name, and what scores pictures by them: one score a picture, on what an 8-bit screen shows.

`Scorer` scores batches of tensors for comparisons, `image_scorer` PIL images beside one photo for a search.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from onedpiece.errors import MissingWeightsError
from onedpiece.metrics.lpips import Lpips
from onedpiece.metrics.pixel import image_psnr, ms_ssim, psnr, round_to_8_bits, ssim

_CHUNK = 4  # pictures scored at once: more take a worker past a gigabyte and are no faster
_LPIPS_NETS = {"lpips": "alex", "lpips-squeeze": "squeeze"}


Score = Callable[[Sequence[Image.Image]], list[float]]
"""Pictures of the photo's own size -> one score each."""

MIN_SIDES = {"ssim": 11, "lpips": 32}  # pixels: SSIM's window; what AlexNet's pooling leaves a pixel of
MAX_PIXELS = 16_000_000  # SSIM and LPIPS hold the photo's feature maps, about 150 bytes a pixel


@dataclass(frozen=True)
class Metric:
    """What a score is called and which way is better."""

    name: str
    label: str  # for axes and tables
    json_key: str  # CompressAI's name where it has one
    higher_is_better: bool
    digits: int  # after the point, in tables

    def better(self, score: float, than: float) -> bool:
        """Return whether `score` is strictly better than the score `than`."""
        return score > than if self.higher_is_better else score < than


METRICS: dict[str, Metric] = {
    "psnr": Metric("psnr", "PSNR (dB)", "psnr-rgb", True, 2),
    "ssim": Metric("ssim", "SSIM", "ssim-rgb", True, 3),
    "ms-ssim": Metric("ms-ssim", "MS-SSIM", "ms-ssim-rgb", True, 3),
    "lpips": Metric("lpips", "LPIPS-Alex", "lpips-alex", False, 3),
    "lpips-squeeze": Metric("lpips-squeeze", "LPIPS-squeeze", "lpips-squeeze", False, 3),
}


def metric(name: str) -> Metric:
    """Return the metric called `name`; "lpips-alex" is another name of "lpips".

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    name = "lpips" if name == "lpips-alex" else name
    if name not in METRICS:
        raise ValueError(f"no metric {name!r}; there are: {', '.join(METRICS)}")
    return METRICS[name]


class Scorer:
    """Scores pictures by any of the named metrics; the networks of LPIPS are loaded once."""

    def __init__(self, names: Sequence[str]) -> None:
        """Load what the metrics `names` need; a name given twice counts once.

        Raises:
            ValueError: an unknown name.
            MissingWeightsError: the weights of LPIPS are neither on the machine nor to be downloaded.
        """
        self.metrics = list(dict.fromkeys(metric(name) for name in names))
        self._lpips = {m.name: Lpips(_LPIPS_NETS[m.name]) for m in self.metrics if m.name in _LPIPS_NETS}

    @torch.no_grad()
    def score(self, name: str, reference: Tensor, images: Tensor) -> list[float]:
        """Return one score a picture by the metric `name`; shapes as in `psnr`."""
        functions = {"psnr": psnr, "ssim": ssim, "ms-ssim": ms_ssim}
        function = self._lpips_of_8_bits(name) if name in self._lpips else functions[name]
        references = torch.split(reference, _CHUNK) if len(reference) == len(images) else repeat(reference)
        pairs = zip(references, torch.split(images, _CHUNK), strict=False)
        return [score for pair in pairs for score in function(*pair).tolist()]

    def _lpips_of_8_bits(self, name: str) -> Callable[[Tensor, Tensor], Tensor]:
        distance = self._lpips[name].distance
        return lambda reference, images: distance(round_to_8_bits(reference), round_to_8_bits(images))


class AvailableScorer(NamedTuple):
    """A scorer of those metrics that can be computed here, and one line for each that cannot."""

    scorer: Scorer
    missing: list[str]


def available_scorer(names: Sequence[str]) -> AvailableScorer:
    """Load the metrics `names`, leaving out those whose weights cannot be had.

    Raises:
        ValueError: an unknown name, or none is left.
    """
    kept: list[str] = []
    missing: list[str] = []
    for m in dict.fromkeys(metric(name) for name in names):
        try:
            Scorer([m.name])
        except MissingWeightsError as error:
            missing.append(f"{m.label} is left out: {error}")
        else:
            kept.append(m.name)
    if not kept:
        raise ValueError("; ".join(missing) or "no metric was asked for")
    return AvailableScorer(Scorer(kept), missing)


def image_scorer(metric: str, photo: Image.Image) -> Score:
    """Return what scores pictures by `metric` ("psnr", "ssim" or "lpips") beside an RGB photo.

    Raises:
        ValueError: the photo is too small or too large for the metric.
        MissingWeightsError: the weights of LPIPS cannot be had.
    """
    if metric == "psnr":
        return lambda pictures: [image_psnr(photo, picture) for picture in pictures]
    _check_size(metric, photo.size)
    compare = _alex().distance if metric == "lpips" else ssim
    reference = _to_batch(photo)
    # One at a time: their feature maps are what takes memory.
    return lambda pictures: [float(compare(reference, _to_batch(picture))) for picture in pictures]


def _check_size(metric: str, size: tuple[int, int]) -> None:
    if min(size) < MIN_SIDES[metric]:
        raise ValueError(
            f"{metric} needs sides of at least {MIN_SIDES[metric]} pixels, the photo is {size[0]}x{size[1]}; "
            "aim at psnr instead"
        )
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(
            f"{metric} takes photos up to {MAX_PIXELS} pixels, this is {size[0]}x{size[1]}; aim at psnr"
        )


def _to_batch(picture: Image.Image) -> Tensor:
    return torch.tensor(np.asarray(picture)).permute(2, 0, 1)[None].float() / 255


@cache
def _alex() -> Lpips:
    return Lpips("alex")
