"""What a caller asks of a code: a quality to reach (`QualityTarget`), or one of several (`RateTarget`)."""

from dataclasses import dataclass, fields
from math import isfinite
from operator import index
from typing import TypedDict

from onedpiece.errors import TargetOutOfReachError
from onedpiece.metrics.descriptors import TARGET_METRICS


@dataclass(frozen=True)
class QualityTarget:
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
        if self.metric not in TARGET_METRICS:
            raise ValueError(f"no metric {self.metric!r} to reach; there are: {', '.join(TARGET_METRICS)}")
        of = TARGET_METRICS[self.metric]
        lowest, highest = of.target_range or (0.0, 0.0)
        if not (isfinite(self.value) and lowest <= self.value <= highest):
            raise ValueError(f"{self.metric} is {self.value}; give {lowest:g} to {highest:g}{of.unit}")

    def margin(self, score: float) -> float:
        """Return by how much a score is better than the target: 0 or more is reached."""
        return score - self.value if TARGET_METRICS[self.metric].higher_is_better else self.value - score

    def out_of_reach(self, score: float, tokens: int) -> TargetOutOfReachError:
        """Return the error that says which score is the best, and with how many tokens."""
        of = TARGET_METRICS[self.metric]
        return TargetOutOfReachError(
            f"{of.label} {self.value:g}{of.unit} is out of reach: the best is {score:.4g}{of.unit}, "
            f"with {tokens} token{'s' if tokens > 1 else ''}",
            score,
            tokens,
        )


class RateOptions(TypedDict, total=False):
    """The fields of a `RateTarget` as keywords: at most one of them."""

    tokens: int | None
    max_bytes: int | None
    bpp: float | None
    psnr: float | None
    ssim: float | None
    lpips: float | None


@dataclass(frozen=True)
class RateTarget:
    """How large or how good a code shall be: at most one field is given; none means all tokens.

    Attributes:
        tokens: how many to keep, from 1 to what the model makes (see `Codec.check_target`).
        max_bytes: the largest size of the whole file.
        bpp: the same in bits a pixel of the photo.
        psnr: the least PSNR of the decoded file in dB; as few tokens as reach it.
        ssim: the least SSIM.
        lpips: the most LPIPS-Alex.

    Raises:
        ValueError: two are given, or one is out of range.
    """

    tokens: int | None = None
    max_bytes: int | None = None
    bpp: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    lpips: float | None = None

    def __post_init__(self) -> None:
        given = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        if len(given) > 1:
            raise ValueError(f"give {' or '.join(given)}, not {'both' if len(given) == 2 else 'all of them'}")
        if self.max_bytes is not None and index(self.max_bytes) < 1:
            raise ValueError(f"max_bytes is {self.max_bytes}; give the largest size of the file, in bytes")
        if self.bpp is not None and not (isfinite(self.bpp) and self.bpp > 0):
            raise ValueError(f"bpp is {self.bpp}; give bits a pixel, above 0, such as 0.05")
        _ = self.quality  # checks its own value

    @property
    def quality(self) -> QualityTarget | None:
        """The quality to reach, where one was given."""
        values = ((name, getattr(self, name)) for name in TARGET_METRICS)
        return next((QualityTarget(name, float(value)) for name, value in values if value is not None), None)

    @property
    def is_count(self) -> bool:
        """Whether it is a number of tokens, or all of them: no budget, no quality."""
        given = (self.max_bytes, self.bpp, *(getattr(self, name) for name in TARGET_METRICS))
        return all(value is None for value in given)

    def bytes_for(self, size: tuple[int, int]) -> int | None:
        """Return the largest size of the file of a photo of `size` (width, height); None where it is free."""
        if self.bpp is None:
            return self.max_bytes
        return int(self.bpp * size[0] * size[1] / 8)

    def budget_text(self, size: tuple[int, int]) -> str:
        """Say what `bytes_for` a photo of `size` comes to, in the words that it was given in."""
        if self.bpp is None:
            return f"max_bytes is {self.max_bytes}"
        return f"bpp {self.bpp:g} of {size[0]}x{size[1]} pixels is {self.bytes_for(size)} bytes"
