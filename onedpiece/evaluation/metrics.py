"""How far a reconstruction is from its photo: one score a picture, taken on what an 8-bit screen shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from onedpiece.rate.perceptual import Lpips, MissingWeightsError
from onedpiece.rate.scores import per_picture
from onedpiece.rate.scores import psnr as psnr
from onedpiece.rate.scores import round_to_8_bits as round_to_8_bits
from onedpiece.rate.scores import ssim as ssim

_CHUNK = 4  # pictures scored at once: more take a worker past a gigabyte and are no faster
MS_SSIM_MIN_SIDE = 161  # five scales of an 11-pixel window: torchmetrics asks for more than (11 - 1) * 2**4


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
_LPIPS_NETS = {"lpips": "alex", "lpips-squeeze": "squeeze"}


def metric(name: str) -> Metric:
    """Return the metric called `name`; "lpips-alex" is another name of "lpips".

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    name = "lpips" if name == "lpips-alex" else name
    if name not in METRICS:
        raise ValueError(f"no metric {name!r}; there are: {', '.join(METRICS)}")
    return METRICS[name]


def ms_ssim(reference: Tensor, images: Tensor) -> Tensor:
    """Return the MS-SSIM of each picture, (B,): five scales; shapes as in `psnr`.

    Raises:
        ValueError: a side of at most 160 pixels, which five scales do not fit into.
    """
    if min(images.shape[-2:]) < MS_SSIM_MIN_SIDE:
        raise ValueError(
            f"MS-SSIM needs sides of at least {MS_SSIM_MIN_SIDE} pixels, the pictures are "
            f"{images.shape[-1]}x{images.shape[-2]}; leave 'ms-ssim' out of the metrics"
        )
    reference, images = round_to_8_bits(reference).expand_as(images), round_to_8_bits(images)
    scores = multiscale_structural_similarity_index_measure(
        images, reference, data_range=1.0, reduction="none", normalize="relu"
    )
    return per_picture(scores)


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
