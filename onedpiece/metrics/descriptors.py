"""The one table of metrics: what a score is called, which way is better, and what a rate target may ask for.

Nothing here needs torch, so that a command line can check its options before the heavy imports.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric."""

    name: str  # on the command line
    label: str
    json_key: str  # CompressAI's name where it has one
    higher_is_better: bool
    digits: int  # after the point, in tables
    unit: str = ""  # as it stands behind a number, with its space
    target_range: tuple[float, float] | None = None  # values a rate target may ask for; None: it is no target
    min_side: int = 1  # pixels that the shorter side of a picture needs

    @property
    def axis_label(self) -> str:
        """The label with its unit, for axes and the heads of tables."""
        return f"{self.label} ({self.unit.strip()})" if self.unit else self.label

    @property
    def direction(self) -> str:
        """Which way is better, in three words."""
        return f"{'higher' if self.higher_is_better else 'lower'} is better"

    def better(self, score: float, than: float) -> bool:
        """Return whether `score` is strictly better than the score `than`."""
        return score > than if self.higher_is_better else score < than


_ALL = (
    # 8-bit pictures of the largest size allowed end below 140 dB.
    Metric("psnr", "PSNR", "psnr-rgb", True, 2, " dB", (0.0, 100.0)),
    Metric("ssim", "SSIM", "ssim-rgb", True, 3, target_range=(-1.0, 1.0), min_side=11),  # its window
    # Five scales of an 11-pixel window: torchmetrics asks for more than (11 - 1) * 2**4.
    Metric("ms-ssim", "MS-SSIM", "ms-ssim-rgb", True, 3, min_side=161),
    # What AlexNet's pooling leaves a pixel of.
    Metric("lpips", "LPIPS-Alex", "lpips-alex", False, 3, target_range=(0.0, 10.0), min_side=32),
    Metric("lpips-squeeze", "LPIPS-squeeze", "lpips-squeeze", False, 3, min_side=32),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""Every metric by name."""

TARGET_METRICS: dict[str, Metric] = {name: metric for name, metric in METRICS.items() if metric.target_range}
"""Those that a rate target can name."""


def metric(name: str) -> Metric:
    """Return the metric called `name`; "lpips-alex" is another name of "lpips".

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    name = "lpips" if name == "lpips-alex" else name
    if name not in METRICS:
        raise ValueError(f"no metric {name!r}; there are: {', '.join(METRICS)}")
    return METRICS[name]
