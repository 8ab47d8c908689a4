"""`Aim`: what a caller wants of a code, one wish of several, checked in one place."""

from dataclasses import dataclass, fields
from math import isfinite
from operator import index

from onedpiece.rate.target import METRICS, Target


@dataclass(frozen=True)
class Aim:
    """How large or how good a code shall be: at most one field is given; none means all tokens.

    Attributes:
        tokens: how many to keep, from 1 to what the model makes (see `Codec.check_aim`).
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
        _ = self.target  # checks its own value

    @property
    def target(self) -> Target | None:
        """The quality to reach, where it is one that was given."""
        values = ((name, getattr(self, name)) for name in METRICS)
        return next((Target(name, float(value)) for name, value in values if value is not None), None)

    def bytes_for(self, size: tuple[int, int]) -> int | None:
        """Return the largest size of the file of a photo of `size` (width, height); None where it is free."""
        if self.bpp is None:
            return self.max_bytes
        return int(self.bpp * size[0] * size[1] / 8)
