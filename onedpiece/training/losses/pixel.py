"""The distance between pixels."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PixelConfig:
    """Weights of the mean absolute and the mean squared error.

    Raises:
        ValueError: on construction, a negative weight, or both 0.
    """

    l1: float = 1.0  # sharper where the network is unsure: it aims at the median
    l2: float = 0.0  # what PSNR counts: it aims at the mean

    def __post_init__(self) -> None:
        if self.l1 < 0 or self.l2 < 0 or self.l1 + self.l2 == 0:
            raise ValueError(f"pixel.l1 and l2 must not be negative, nor both 0; got {self.l1} and {self.l2}")


def pixel_loss(image: Tensor, target: Tensor, config: PixelConfig) -> Tensor:
    """Return l1 · mean |image − target| + l2 · mean (image − target)², a float32 scalar.

    Args:
        image: (B, 3, H, W), not clamped: a gradient is wanted outside [0, 1] too.
        target: (B, 3, H, W) in [0, 1].
        config: the two weights.
    """
    error = image.float() - target
    loss = error.new_zeros(())
    if config.l1:
        loss = loss + config.l1 * error.abs().mean()
    if config.l2:
        loss = loss + config.l2 * error.square().mean()
    return loss
