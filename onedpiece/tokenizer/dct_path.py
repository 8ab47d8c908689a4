"""The DCT path: an ordered DCT that turns a picture into token coefficients, and back.

The photo is downscaled, its colours rotated to luma and two opponents, and the orthonormal 2-D DCT taken;
the coefficients of largest variance go to the first tokens. With it an untrained tokenizer is a codec, and
the networks only learn what a linear map cannot do.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable
from functools import cache
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.tokenizer.config import TokenizerConfig
from onedpiece.tokenizer.quantizer import Lattice, fit_lattice, latent_of, level_index, restore

FIT_SAMPLES = 2048
"""Pictures whose coefficients `fit` keeps to fit the lattices; the variances use all."""

UNIFORM_LEVELS = 32
"""From this many levels on, those of a mean colour lie evenly over its whole range."""

FLAT_RANGE = 1.5 / 255
"""Standard deviation around a pixel at which `activity` is one half, for the decoder."""

SHARP_FLAT_RANGE = 0.05 / 255
"""The same for the sharp network, whose detail a faint sky or wall needs: at 0.3 / 255 LPIPS-Alex was .013
and .007 lower at 64 and 256 tokens than with the decoder's range, for .05 dB (20 photos); from there on .001.
"""

ROUNDING = 1e-5
"""Standard deviations up to here are what averaging a flat picture in float32 leaves, and count as 0."""


def dct_matrix(size: int) -> Tensor:
    """Return the orthonormal DCT-II matrix, (size, size), in float32: row f is the basis of frequency f."""
    n = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(math.pi * (n + 0.5) * n[:, None] / size) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis.float()


def bicubic_matrix(size: int, larger: int) -> Tensor:
    """Return what bicubic upscaling of one side does, (larger, size): ten times as fast as a product."""
    unit = torch.eye(size, dtype=torch.float32)[None, None]
    return F.interpolate(unit, (larger, size), mode="bicubic", align_corners=False)[0, 0]


def colour_rotation() -> Tensor:
    """Return the orthonormal rotation from RGB to (luma, red–blue, green–magenta), (3, 3)."""
    rows = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]])
    return F.normalize(rows, dim=1)


class LinearPath(nn.Module):
    """Picture ↔ the latents of all tokens, linearly.

    Statistics live in buffers and travel with the weights: `order` (which coefficient each slot carries),
    `scale` (what it is divided by) and `centroids` (what each level of each lattice is restored to). A fresh
    instance has those of the usual 1/frequency spectrum of photographs with normal coefficients; `fit`
    measures them.

    The three mean colours (DC coefficients) are bounded: with `UNIFORM_LEVELS` or more their levels lie
    evenly over all that a picture can have, the extremes included, so that saturated colours can be said.
    With `config.refines_dc` the last token divides each of their cells once more.

    Raises:
        ValueError: the tokens have more channels than the linear picture has coefficients.
    """

    order: Tensor
    scale: Tensor
    centroids: Tensor
    slots: Tensor
    levels: Tensor
    dct: Tensor
    colours: Tensor
    upscaling: Tensor

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.size = config.linear_size
        self.num_tokens, self.code_dim = config.num_tokens, config.code_dim
        slots, levels = _slots(config)
        # How many coefficients k tokens carry, as plain integers: a lookup on the device would wait for it.
        self._ends = [bisect_left(slots, k * self.code_dim) for k in range(config.num_tokens + 1)]
        self._refined = 3 if config.refines_dc else 0
        carried, room = len(slots) - self._refined, 3 * self.size**2
        if carried > room:
            raise ValueError(
                f"fsq_grades have {carried} channels, and linear_size {self.size} {room} coefficients to "
                "carry; use a larger linear_size or fewer channels"
            )
        self._lattices = sorted(set(levels))
        self.register_buffer("slots", torch.tensor(slots), persistent=False)
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("dct", dct_matrix(self.size), persistent=False)
        self.register_buffer("colours", colour_rotation(), persistent=False)
        self.register_buffer("upscaling", bicubic_matrix(self.size, config.image_size), persistent=False)
        self.register_buffer("order", torch.zeros(len(slots), dtype=torch.int64))
        self.register_buffer("scale", torch.ones(len(slots)))
        self.register_buffer("centroids", torch.zeros(3 * sum(self._lattices)))
        if not torch.empty(0).is_meta:  # else they are about to be loaded: see `meta_init`
            self._take_statistics(
                _spectrum(self.size).flatten(), {count: _normal_lattice(count) for count in self._lattices}
            )

    def downscale(self, x: Tensor) -> Tensor:
        """Return (B, 3, size, size), each pixel the mean of its area, of x (B, 3, H, W)."""
        return F.adaptive_avg_pool2d(x, self.size)

    def coefficients(self, x: Tensor) -> Tensor:
        """Return all DCT coefficients, (B, 3·size²), of x (B, 3, H, W) in [0, 1]."""
        rotated = torch.einsum("oc,bchw->bohw", self.colours, self.downscale(x.float()) - 0.5)
        return (self.dct @ rotated @ self.dct.T).flatten(1)

    def analyse(self, x: Tensor) -> Tensor:
        """Return the latents (B, N, code_dim) of x (B, 3, H, W) in [0, 1]; unused channels are 0."""
        values = self.coefficients(x)[:, self.order] / self.scale
        uniform = self._uniform()
        values = torch.where(uniform, latent_of(values), values)
        if self._refined:
            values[:, -self._refined :] = self._refinement(values)
        latents = values.new_zeros(x.shape[0], self.num_tokens * self.code_dim)
        latents[:, self.slots] = values
        return latents.view(x.shape[0], self.num_tokens, self.code_dim)

    def _refinement(self, values: Tensor) -> Tensor:
        """Latents of the last token: where in its cell each mean colour lies, from latents (B, slots)."""
        refined = self._refined_slots()
        top = self.levels[refined] - 1
        position = torch.tanh(values[:, refined])
        code = 2 * level_index(values[:, refined], top + 1) / top - 1
        within = (position - code) * top  # −1 … 1 from one edge of the cell to the other
        fine = self.levels[-self._refined :]
        return latent_of(within * fine / (fine - 1))

    def synthesise(self, codes: Tensor, mask: Tensor | None = None, size: int | None = None) -> Tensor:
        """Return the linear picture; differentiable in the codes.

        Args:
            codes: (B, k, code_dim), k ≤ N, on the quantizer's lattice.
            mask: (B, k) bool, False for tokens that are not there; None: all are.
            size: side of the picture in pixels, the same picture on another grid: a smaller one leaves the
                higher frequencies out. None: the path's own.

        Returns:
            (B, 3, size, size), about [0, 1], not clamped. Coefficients of absent tokens are 0.
        """
        values = self.contributions(codes, mask)
        coefficients = values.new_zeros(values.shape[0], 3 * self.size**2)
        coefficients = coefficients.index_add(1, self.order[: values.shape[1]], values)
        coefficients, dct = coefficients.view(-1, 3, self.size, self.size), self.dct
        if size is not None and size != self.size:
            more = size - self.size  # negative padding cuts
            coefficients = F.pad(coefficients, (0, more, 0, more)) * (size / self.size)
            dct = dct_matrix(size).to(dct)
        rotated = dct.T @ coefficients @ dct
        return torch.einsum("oc,bohw->bchw", self.colours, rotated) + 0.5

    def mirrored(self, codes: Tensor) -> Tensor:
        """Return the codes (B, k, code_dim) of pictures mirrored left to right, from the pictures' own codes.

        A mirrored cosine of odd horizontal frequency is its negative, and the lattices are symmetric: exact.
        """
        signs = codes.new_ones(self.num_tokens * self.code_dim)
        signs[self.slots] = (1 - 2 * (self.order % self.size % 2)).to(codes)
        return codes * signs.view(self.num_tokens, self.code_dim)[: codes.shape[1]]

    def contributions(self, codes: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return what each slot of codes (B, k, code_dim) adds to its coefficient, (B, slots of k tokens)."""
        if torch.compiler.is_exporting():  # `_ends` has no symbolic places: all tokens, and a mask
            codes, mask = self._padded(codes, mask)
        here = self._ends[codes.shape[1]]
        slots, levels = self.slots[:here], self.levels[:here]
        flat = codes.float().reshape(codes.shape[0], -1)[:, slots]
        values = restore(flat, levels, self._first()[:here], self.centroids) * self.scale[:here]
        return values if mask is None else values * mask[:, slots // self.code_dim]

    def _padded(self, codes: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return (B, N, code_dim) codes, and which of them are there, (B, N): what adds the same."""
        batch, count, _ = codes.shape
        mask = codes.new_ones(batch, count, dtype=torch.bool) if mask is None else mask
        missing = (0, self.num_tokens - count)
        return F.pad(codes, (0, 0, *missing)), F.pad(mask, missing)

    @torch.no_grad()
    def forecast(self, x: Tensor, codes: Tensor) -> Tensor:
        """Return about the PSNR, in dB, of the pictures of 1, 2, …, N tokens, (B, N); no decoder runs.

        The DCT is orthonormal, so that every coefficient adds its own error: that of its lattice where its
        token is kept, its square where it is not. What `size` cannot hold is added to all.

        Args:
            x: (B, 3, S, S) in [0, 1], the pictures at the model's size.
            codes: (B, N, code_dim), their codes.
        """
        coefficients, added = self.coefficients(x), self.contributions(codes)
        missing = coefficients[:, self.order]
        if self._refined:
            missing[:, -self._refined :] -= added[:, self._refined_slots()]
        gains = missing.square() - (missing - added).square()
        tokens = torch.div(self.slots, self.code_dim, rounding_mode="floor")
        by_token = gains.new_zeros(x.shape[0], codes.shape[1]).index_add(1, tokens, gains)
        all_lost = coefficients.square().sum(1, keepdim=True)
        per_pixel = (all_lost - by_token.cumsum(1)) / coefficients.shape[1]
        back = self.upscaling @ self.downscale(x) @ self.upscaling.T
        detail = (x - back).square().mean(dim=(1, 2, 3))
        return -10 * torch.log10((per_pixel + detail[:, None]).clamp_min(1e-9))

    @torch.no_grad()
    def fit(self, images: Iterable[Tensor]) -> None:
        """Measure order, scales and lattices over training pictures.

        Args:
            images: batches (B, 3, H, W) in [0, 1].

        Raises:
            ValueError: fewer than two pictures.
        """
        energy, sample = _moments(self.coefficients(batch) for batch in images)
        order = self._ordered(energy)
        standard = sample[:, order] / energy[order].sqrt().clamp_min(1e-6)
        lattices = {}
        for count in self._lattices:
            chosen = standard[:, (self.levels == count) & ~self._uniform(order)]
            if chosen.numel():
                lattices[count] = fit_lattice(chosen.flatten(), count)
        self._take_statistics(energy, lattices)

    def _take_statistics(self, energy: Tensor, lattices: dict[int, Lattice]) -> None:
        """Set all buffers from mean squares (3·size²,) and the lattices by their number of levels."""
        self.order.copy_(self._ordered(energy))
        self.scale.copy_(energy[self.order].sqrt().clamp_min(1e-6))
        uniform = self._uniform()
        for count, first in zip(self._lattices, accumulate(self._lattices, initial=0), strict=False):
            steps = torch.arange(count, device=self.scale.device, dtype=self.scale.dtype)
            if count in lattices:
                self.scale *= torch.where((self.levels == count) & ~uniform, lattices[count].factor, 1.0)
                self.centroids[3 * first : 3 * first + count] = lattices[count].centroids
            self.centroids[3 * first + count : 3 * first + 2 * count] = 2 * steps / max(1, count - 1) - 1
            self.centroids[3 * first + 2 * count : 3 * first + 3 * count] = (2 * steps + 1) / count - 1
        bounds = self.colours.abs().sum(1) / 2 * self.size  # the DC of the most extreme picture
        bounds = bounds[self.order // self.size**2]
        self.scale.copy_(torch.where(uniform, bounds, self.scale))
        if self._refined:
            refined = self._refined_slots()
            self.scale[-self._refined :] = self.scale[refined] / (self.levels[refined] - 1)

    def _ordered(self, energy: Tensor) -> Tensor:
        """Return which coefficient each slot carries: the strongest first, mean colours again at the end."""
        dc = torch.arange(3, device=energy.device) * self.size**2
        plain = energy.argsort(descending=True, stable=True)[: len(self.order) - self._refined]
        if self._refined and not torch.isin(dc, plain).all():
            raise ValueError(
                "a last token that refines the mean colours needs all three among the coefficients before it"
            )
        return torch.cat([plain, dc[: self._refined]])

    def _uniform(self, order: Tensor | None = None) -> Tensor:
        """(slots,) bool: which slots carry a mean colour on an even lattice."""
        order = self.order if order is None else order
        uniform = (order % self.size**2 == 0) & (self.levels >= UNIFORM_LEVELS)
        if self._refined:
            uniform[-self._refined :] = False
        return uniform

    def _refined_slots(self) -> Tensor:
        """(3,) the slots that the last token's channels refine."""
        plain, refined = self.order[: -self._refined], self.order[-self._refined :]
        return (plain == refined[:, None]).int().argmax(dim=1)

    def _first(self) -> Tensor:
        """Return where in `centroids` each slot's lattice begins: fitted, even and within-cell, by size."""
        first = torch.zeros_like(self.levels)
        for count in self._lattices:
            first += 3 * count * (self.levels > count)
        first = first + self.levels * self._uniform()
        if self._refined:
            first[-self._refined :] += 2 * self.levels[-self._refined :]
        return first


def activity(linear: Tensor, size: int, flat_range: float = FLAT_RANGE) -> Tensor:
    """Return how far the tokens say that something is there, (B, 1, size, size) in [0, 1): 0 where flat.

    Whatever a network adds is multiplied by it, so that a flat picture stays flat: s / (s + flat_range), s
    the standard deviation over 9×9 pixels around.

    Args:
        linear: (B, 3, S, S), the linear picture.
        size: side of the map.
        flat_range: the deviation at which it is one half.
    """
    padded = F.pad(linear.detach().float(), (4, 4, 4, 4), mode="replicate")
    mean = F.avg_pool2d(padded, 9, 1)
    deviation = F.avg_pool2d((padded - F.pad(mean, (4, 4, 4, 4), mode="replicate")).square(), 9, 1)
    spread = F.threshold(deviation.mean(dim=1, keepdim=True).sqrt(), ROUNDING, 0.0)
    return F.interpolate(spread / (spread + flat_range), size, mode="bilinear", align_corners=False)


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


def _moments(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the mean squares (C,) and the first FIT_SAMPLES rows of a stream of (B, C) batches."""
    count, squares = 0, torch.zeros(())
    kept: list[Tensor] = []
    for batch in batches:
        if count < FIT_SAMPLES:
            kept.append(batch)
        count += len(batch)
        squares = squares + batch.double().square().sum(0)
    if count < 2:
        raise ValueError(f"fitting the linear path needs at least 2 pictures, {count} were given")
    return (squares / count).float(), torch.cat(kept)[:FIT_SAMPLES]


@cache
def _normal_lattice(levels: int) -> Lattice:
    """Return the lattice for a standard normal, fitted to 4096 of its quantiles: a sample without chance."""
    with torch.device("cpu"):
        return fit_lattice(torch.special.ndtri((torch.arange(4096) + 0.5) / 4096), levels)
