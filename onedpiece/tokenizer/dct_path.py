"""The linear path: an ordered DCT that turns a picture into token coefficients, and back.

The photo is downscaled, its colours rotated to luma and two opponents, and the orthonormal 2-D DCT taken;
the coefficients of largest variance go to the first tokens. With it an untrained tokenizer is a codec, and
the networks only learn what a linear map cannot do. It also foretells what each prefix will be worth, without
running a decoder.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.tokenizer.config import TokenizerConfig
from onedpiece.tokenizer.lattice import Lattice, fit_lattice, restore

FIT_SAMPLES = 2048
"""Pictures whose coefficients `fit` keeps to fit the lattices; the variances use all."""


def dct_matrix(size: int) -> Tensor:
    """Return the orthonormal DCT-II matrix, (size, size), in float32: row f is the basis of frequency f."""
    n = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(math.pi * (n + 0.5) * n[:, None] / size) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis.float()


def colour_rotation() -> Tensor:
    """Return the orthonormal rotation from RGB to (luma, red–blue, green–magenta), (3, 3)."""
    rows = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]])
    return F.normalize(rows, dim=1)


class LinearPath(nn.Module):
    """Picture ↔ the latents of all tokens, linearly.

    Statistics live in buffers and travel with the weights: `order` (which coefficient each slot carries),
    `mean` and `scale` (what it is shifted and divided by) and `centroids` (what each level of each lattice
    is restored to). A fresh instance has those of the usual 1/frequency spectrum of photographs with
    normal coefficients; `fit` measures them.
    """

    order: Tensor
    mean: Tensor
    scale: Tensor
    centroids: Tensor
    slots: Tensor
    levels: Tensor
    dct: Tensor
    colours: Tensor

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.size = config.linear_size
        self.num_tokens, self.code_dim = config.num_tokens, config.code_dim
        slots, levels = _slots(config)
        # How many coefficients k tokens carry, as plain integers: a lookup on the device would wait for it.
        self._ends = [bisect_left(slots, k * self.code_dim) for k in range(config.num_tokens + 1)]
        self._lattices = sorted(set(levels))
        self.register_buffer("slots", torch.tensor(slots), persistent=False)
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("dct", dct_matrix(self.size), persistent=False)
        self.register_buffer("colours", colour_rotation(), persistent=False)
        variance = _spectrum(self.size).flatten()
        order = variance.argsort(descending=True, stable=True)[: len(slots)]
        self.register_buffer("order", order)
        self.register_buffer("mean", torch.zeros(len(slots)))
        self.register_buffer("scale", variance[order].sqrt())
        self.register_buffer("centroids", torch.zeros(sum(self._lattices)))
        for count in self._lattices:
            self._take_lattice(count, _normal_lattice(count))

    def downscale(self, x: Tensor) -> Tensor:
        """Return (B, 3, size, size), each pixel the mean of its area, of x (B, 3, H, W)."""
        return F.adaptive_avg_pool2d(x, self.size)

    def coefficients(self, x: Tensor) -> Tensor:
        """Return all DCT coefficients, (B, 3·size²), of x (B, 3, H, W) in [0, 1]."""
        rotated = torch.einsum("oc,bchw->bohw", self.colours, self.downscale(x.float()) - 0.5)
        return (self.dct @ rotated @ self.dct.T).flatten(1)

    def analyse(self, x: Tensor) -> Tensor:
        """Return the latents (B, N, code_dim) of x (B, 3, H, W) in [0, 1]; unused channels are 0."""
        values = (self.coefficients(x)[:, self.order] - self.mean) / self.scale
        latents = values.new_zeros(x.shape[0], self.num_tokens * self.code_dim)
        latents[:, self.slots] = values
        return latents.view(x.shape[0], self.num_tokens, self.code_dim)

    def synthesise(self, codes: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the linear picture; differentiable in the codes.

        Args:
            codes: (B, k, code_dim), k ≤ N, on the quantizer's lattice.
            mask: (B, k) bool, False for tokens that are not there; None: all are.

        Returns:
            (B, 3, size, size), about [0, 1], not clamped. Coefficients of absent tokens take their mean.
        """
        batch, count, _ = codes.shape
        here = self._ends[count]
        slots, levels = self.slots[:here], self.levels[:here]
        values = restore(codes.reshape(batch, -1)[:, slots], levels, self._first(levels), self.centroids)
        if mask is not None:
            values = values * mask[:, slots // self.code_dim]
        coefficients = values.new_zeros(batch, 3 * self.size**2)
        coefficients[:, self.order] = self.mean
        coefficients[:, self.order[:here]] += values * self.scale[:here]
        rotated = self.dct.T @ coefficients.view(batch, 3, self.size, self.size) @ self.dct
        return torch.einsum("oc,bohw->bchw", self.colours, rotated) + 0.5

    @torch.no_grad()
    def fit(self, images: Iterable[Tensor]) -> None:
        """Measure order, means and scales over training pictures.

        Args:
            images: batches (B, 3, H, W) in [0, 1].

        Raises:
            ValueError: fewer than two pictures.
        """
        mean, variance, sample = _moments(self.coefficients(batch) for batch in images)
        self.order.copy_(variance.argsort(descending=True, stable=True)[: len(self.order)])
        self.mean.copy_(mean[self.order])
        deviation = variance[self.order].sqrt().clamp_min(1e-6)
        standard = (sample[:, self.order] - self.mean) / deviation
        self.scale.copy_(deviation)
        for count in self._lattices:
            self._take_lattice(count, fit_lattice(standard[:, self.levels == count].flatten(), count))

    def _first(self, levels: Tensor) -> Tensor:
        """Return where in `centroids` the lattice with so many levels begins: smaller lattices come first."""
        first = torch.zeros_like(levels)
        for count in self._lattices:
            first += count * (levels > count)
        return first

    def _take_lattice(self, count: int, lattice: Lattice) -> None:
        self.scale *= torch.where(self.levels == count, lattice.factor, 1.0)
        first = sum(smaller for smaller in self._lattices if smaller < count)
        self.centroids[first : first + count] = lattice.centroids


def _slots(config: TokenizerConfig) -> tuple[list[int], list[int]]:
    """Return where in the flattened (N, code_dim) latents each coefficient goes, and its number of levels."""
    slots: list[int] = []
    levels: list[int] = []
    token = 0
    for count, grade in config.fsq_grades:
        for _ in range(count):
            slots += [token * config.code_dim + channel for channel in range(len(grade))]
            levels += list(grade)
            token += 1
    return slots, levels


def _spectrum(size: int) -> Tensor:
    """Return the (3, size, size) variances of a 1/f² power spectrum; opponents have a tenth of luma's."""
    frequency = torch.arange(size, dtype=torch.float32)
    radius = frequency[:, None] ** 2 + frequency**2
    luma = (0.25 * size) ** 2 / (1 + radius)
    return torch.stack([luma, luma / 10, luma / 20])


def _moments(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, variance (both (C,)) and the first FIT_SAMPLES rows of a stream of (B, C) batches."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    kept: list[Tensor] = []
    for batch in batches:
        if count < FIT_SAMPLES:
            kept.append(batch)
        count += len(batch)
        total = total + batch.double().sum(0)
        squares = squares + batch.double().square().sum(0)
    if count < 2:
        raise ValueError(f"fitting the linear path needs at least 2 pictures, {count} were given")
    mean = total / count
    return mean.float(), (squares / count - mean.square()).float(), torch.cat(kept)[:FIT_SAMPLES]


@cache
def _normal_lattice(levels: int, samples: int = 4096) -> Lattice:
    """Return the lattice for a standard normal, fitted to its quantiles: a sample without randomness."""
    with torch.device("cpu"):
        return fit_lattice(torch.special.ndtri((torch.arange(samples) + 0.5) / samples), levels)


@torch.no_grad()
def forecast(path: LinearPath, x: Tensor, codes: Tensor) -> Tensor:
    """Return about the PSNR, in dB, of the pictures of 1, 2, …, N tokens, (B, N).

    The DCT is orthonormal, so that every coefficient adds its own error: that of its lattice where its token
    is kept, that of its mean where it is not. What the linear path's size cannot hold is added to all.

    Args:
        path: the tokenizer's linear path.
        x: (B, 3, H, W) in [0, 1], the pictures.
        codes: (B, N, code_dim), their codes.
    """
    wanted, kept = (
        path.coefficients(x)[:, path.order],
        path.coefficients(path.synthesise(codes))[:, path.order],
    )
    gains = (wanted - path.mean).square() - (wanted - kept).square()
    tokens = torch.div(path.slots, path.code_dim, rounding_mode="floor")
    by_token = gains.new_zeros(len(x), codes.shape[1]).index_add(1, tokens, gains)
    blank = torch.zeros_like(path.coefficients(x))
    blank[:, path.order] = path.mean
    all_lost = (path.coefficients(x) - blank).square().sum(1, keepdim=True)
    per_pixel = (all_lost - by_token.cumsum(1)) / blank.shape[1]
    return -10 * torch.log10((per_pixel + _detail(path, x)[:, None]).clamp_min(1e-9))


def _detail(path: LinearPath, x: Tensor) -> Tensor:
    """The mean squared error, (B,), of pictures that went through the linear path's size and nothing else."""
    back = F.interpolate(path.downscale(x), x.shape[-2:], mode="bicubic", align_corners=False)
    return (x - back).square().mean(dim=(1, 2, 3))
