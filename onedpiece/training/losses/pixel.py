"""The distance between pixels, and of what repeats in it."""

from dataclasses import dataclass

from torch import Tensor

from onedpiece.training.losses.grid import grid_error


@dataclass(frozen=True)
class PixelConfig:
    """Weights of the mean absolute error, the mean squared error, and the error that repeats.

    Raises:
        ValueError: on construction, a negative weight, or l1 and l2 both 0.
    """

    l1: float = 1.0  # sharper where the network is unsure: it aims at the median
    l2: float = 0.0  # what PSNR counts: it aims at the mean
    grid: float = 0.0  # beside a perceptual loss: keeps it from drawing texture with the patches' period

    def __post_init__(self) -> None:
        if min(self.l1, self.l2, self.grid) < 0 or self.l1 + self.l2 == 0:
            raise ValueError(
                f"pixel's weights must not be negative, nor l1 and l2 both 0; "
                f"got l1 {self.l1}, l2 {self.l2}, grid {self.grid}"
            )


def pixel_loss(image: Tensor, target: Tensor, config: PixelConfig) -> Tensor:
    """Return l1 · mean |e| + l2 · mean e² + grid · `grid_error`(e), e = image − target; a float32 scalar.

    Args:
        image: (B, 3, H, W), not clamped: a gradient is wanted outside [0, 1] too.
        target: (B, 3, H, W) in [0, 1].
        config: the weights.
    """
    error = image.float() - target
    loss = error.new_zeros(())
    if config.l1:
        loss = loss + config.l1 * error.abs().mean()
    if config.l2:
        loss = loss + config.l2 * error.square().mean()
    if config.grid:
        loss = loss + config.grid * grid_error(error)
    return loss
