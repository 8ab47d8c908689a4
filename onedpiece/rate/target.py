"""A quality to reach: which metric, and what value of it."""

from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

from onedpiece.rate.errors import TargetOutOfReachError


class Metric(NamedTuple):
    """One of the metrics that a target can name."""

    label: str
    higher_is_better: bool
    lowest: float  # values outside lowest to highest are no target
    highest: float
    unit: str = ""


METRICS = {
    "psnr": Metric("PSNR", True, 0.0, 100.0, " dB"),  # 8-bit pictures of MAX_PIXELS end below 140 dB
    "ssim": Metric("SSIM", True, -1.0, 1.0),
    "lpips": Metric("LPIPS", False, 0.0, 10.0),
}


@dataclass(frozen=True)
class Target:
    """A metric's value that the decoded picture must reach.

    Attributes:
        metric: "psnr" (dB), "ssim" or "lpips" (LPIPS-Alex; lower is better).
        value: the least PSNR or SSIM, the most LPIPS.

    Raises:
        ValueError: there is no such metric, or no picture has such a value.
    """

    metric: str
    value: float

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"no metric {self.metric!r} to aim at; there are: {', '.join(METRICS)}")
        of = METRICS[self.metric]
        if not (isfinite(self.value) and of.lowest <= self.value <= of.highest):
            raise ValueError(f"{self.metric} is {self.value}; give {of.lowest:g} to {of.highest:g}{of.unit}")

    def margin(self, score: float) -> float:
        """Return by how much a score is better than the target: 0 or more is reached."""
        return score - self.value if METRICS[self.metric].higher_is_better else self.value - score

    def out_of_reach(self, score: float, tokens: int) -> TargetOutOfReachError:
        """Return the error that says which score is the best, and with how many tokens."""
        of = METRICS[self.metric]
        return TargetOutOfReachError(
            f"{of.label} {self.value:g}{of.unit} is out of reach: the best is {score:.4g}{of.unit}, "
            f"with {tokens} token{'s' if tokens > 1 else ''}; take that with --best-effort",
            score,
            tokens,
        )
