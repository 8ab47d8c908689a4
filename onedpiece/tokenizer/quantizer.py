"""Quantizers, and the lattices whose points they give: FSQ, graded FSQ and VQ."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.tokenizer.config import Grade, TokenizerConfig

SCALE_FACTORS = tuple(0.3 * 1.12**i for i in range(24))
"""Standard deviations per unit of latent that `fit_lattice` chooses from: 0.3 … 4.1."""

SATURATED = 1.0 - 1e-4
"""The largest |tanh| that `latent_of` asks for; any lattice rounds it to its outermost level."""


class Lattice(NamedTuple):
    """One fitted lattice of L levels.

    Attributes:
        factor: values are divided by this many standard deviations before the bound.
        centroids: (L,), what each level is restored to, in the divided units.
        error: mean squared error on unit-variance values.
    """

    factor: float
    centroids: Tensor
    error: float


def level_index(latents: Tensor, levels: int | Tensor) -> Tensor:
    """Return the level, 0 to L − 1 as floats, that FSQ rounds latents (…,) to.

    The symmetry-preserving form: L levels evenly on [−1, 1], both ends included, zero for odd L.

    Source: FSQ, arXiv 2309.15505, and its symmetric variant in arXiv 2411.19842 §A.
    """
    return torch.floor((levels - 1) * (torch.tanh(latents) + 1) / 2 + 0.5)


def latent_of(position: Tensor) -> Tensor:
    """Return the latents whose tanh is `position`, held inside ±`SATURATED`."""
    return torch.atanh(position.clamp(-SATURATED, SATURATED))


def fit_lattice(values: Tensor, levels: int) -> Lattice:
    """Return the lattice that loses least on values (M,) of about unit variance."""
    return min((_lattice(values, levels, factor) for factor in SCALE_FACTORS), key=lambda found: found.error)


def _lattice(values: Tensor, levels: int, factor: float) -> Lattice:
    scaled = values / factor
    # A thin uniform sample beside the data gives every level a centroid, also one that no datum falls on.
    probes = torch.linspace(-6, 6, 1025, device=values.device)
    points = torch.cat([scaled, probes])
    weights = torch.cat([torch.ones_like(scaled), torch.full_like(probes, 1e-6)])
    index = level_index(points, levels).long()
    mass = points.new_zeros(levels).index_add(0, index, weights)
    centroids = torch.zeros_like(mass).index_add(0, index, weights * points) / mass.clamp_min(1e-12)
    centroids = (centroids - centroids.flip(0)) / 2  # symmetric, so that the middle of an odd lattice is 0
    error = F.mse_loss(centroids[index[: len(values)]] * factor, values)
    return Lattice(factor, centroids, float(error))


def restore(codes: Tensor, levels: Tensor, first: Tensor, centroids: Tensor) -> Tensor:
    """Return the centroids of codes, with a straight-through gradient.

    Args:
        codes: (B, M) on symmetric FSQ lattices: L points from −1 to 1.
        levels: (M,) int, each column's number of levels.
        first: (M,) int, where each column's lattice begins in `centroids`.
        centroids: (T,), the centroids of all lattices one after another.

    Returns:
        (B, M). Its gradient is the centroids' local slope, so that training sees the true step size.
    """
    top = levels - 1
    position = (codes + 1) * (top.to(codes.dtype) / 2)  # an integer's half is of torch's default dtype
    index = position.detach().round().long().clamp_min(0).minimum(top)
    next_up, next_down = (index + 1).minimum(top), (index - 1).clamp_min(0)
    slope = (centroids[first + next_up] - centroids[first + next_down]) / (next_up - next_down)
    return centroids[first + index] + (position - position.detach()) * slope


class Quantized(NamedTuple):
    """What quantisation yields for N tokens.

    Attributes:
        codes: (B, N, code_dim) float32, with a straight-through gradient to the latents.
        indices: (B, N) int64 in 0…codebook_size − 1.
        loss: scalar, the quantizer's own loss (0 for FSQ).
    """

    codes: Tensor
    indices: Tensor
    loss: Tensor


class GradedFSQ(nn.Module):
    """Finite scalar quantisation whose levels depend on the token's position.

    Every grade takes as many bits, so that every token costs the same; channels that a grade does not use are
    zero.

    Args:
        grades: (count, levels) in the order of the tokens.

    Source: FSQ, arXiv 2309.15505; the grading is ours (reverse water-filling over ordered coefficients).
    """

    def __init__(self, grades: tuple[Grade, ...]) -> None:
        super().__init__()
        self.grades = grades
        self.code_dim = max(len(levels) for _, levels in grades)
        rows = [
            levels + (1,) * (self.code_dim - len(levels)) for count, levels in grades for _ in range(count)
        ]
        self._levels = torch.tensor(rows, device="cpu")  # (N, code_dim), 1 where a token has no such channel
        steps = torch.cumprod(self._levels, dim=1)  # here, as ONNX has no such operator
        self._radix = torch.cat([torch.ones_like(steps[:, :1]), steps[:, :-1]], dim=1)

    def forward(self, latents: Tensor) -> Quantized:
        """Quantise (B, N, code_dim) latents, always in float32."""
        with torch.autocast(latents.device.type, enabled=False):
            levels, radix = self._tables(latents.shape[1], latents.device)
            latents = latents.float()
            index = level_index(latents, levels)
            top = (levels - 1).clamp_min(1)
            bounded = torch.tanh(latents)
            codes = torch.where(levels > 1, 2 * index / top - 1, 0.0)
            codes = bounded + (codes - bounded).detach()  # straight through
            codes = torch.where(levels > 1, codes, 0.0)
            indices = (index.long() * radix).sum(-1)
        return Quantized(codes, indices, codes.new_zeros(()))

    def codes_from_indices(self, indices: Tensor) -> Tensor:
        """Return the (B, k, code_dim) codes, float32, of (B, k) indices, k ≤ N."""
        levels, radix = self._tables(indices.shape[1], indices.device)
        index = (torch.div(indices[..., None], radix, rounding_mode="floor") % levels).float()
        return torch.where(levels > 1, 2 * index / (levels - 1).clamp_min(1) - 1, 0.0)

    def _tables(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """(count, code_dim) levels, and what one step of each channel is worth in an index."""
        return self._levels[:count].to(device), self._radix[:count].to(device)


class CosineVQ(nn.Module):
    """Vector quantisation with both sides L2-normalised; the codebook follows by moving averages.

    Args:
        codebook_size: rows.
        dim: channels of a row.

    Source: One-D-Piece's quantizer (arXiv 2501.10064); k-means start and EMA instead of its codebook loss.
    """

    def __init__(self, codebook_size: int, dim: int) -> None:
        super().__init__()
        self.vq = _vector_quantize(codebook_size, dim, synchronised=False)
        # The library leaves zeros until k-means has run; an untrained tokenizer should decode to something.
        self.vq.codebook = F.normalize(torch.randn(codebook_size, dim), dim=-1)

    def synchronise(self) -> None:
        """Let the codebook follow the latents of all processes, of which there are several by now.

        The library finds out by itself only if they are there when it is built.
        """
        rows, dim = self.vq.codebook.shape
        synchronised = _vector_quantize(rows, dim, synchronised=True).to(self.vq.codebook.device)
        synchronised.load_state_dict(self.vq.state_dict())
        self.vq = synchronised.train(self.vq.training)

    def forward(self, latents: Tensor) -> Quantized:
        """Quantise (B, N, dim) latents in float32; the codebook starts and moves in training mode only."""
        with torch.autocast(latents.device.type, enabled=False):
            if not self.training:
                return self._nearest(latents.float())
            codes, indices, loss = self.vq(latents.float())
        return Quantized(codes, indices.long(), loss.sum())

    def _nearest(self, latents: Tensor) -> Quantized:
        unit = F.normalize(latents, dim=-1)
        indices = (unit @ self.vq.codebook.T).argmax(-1)
        codes = self.codes_from_indices(indices)
        if unit.requires_grad:
            codes = codes + (unit - unit.detach())  # straight through
        return Quantized(codes, indices, latents.new_zeros(()))

    def codes_from_indices(self, indices: Tensor) -> Tensor:
        """Return the (B, k, dim) unit-length codes of (B, k) indices."""
        codes: Tensor = F.embedding(indices, self.vq.codebook)
        return codes

    def load_codebook(self, embedding: Tensor) -> None:
        """Take over a trained codebook.

        Args:
            embedding: (codebook_size, dim); rows are normalised here.

        Raises:
            ValueError: another shape.
        """
        expected = tuple(self.vq.codebook.shape)
        if tuple(embedding.shape) != expected:
            raise ValueError(f"the codebook is {tuple(embedding.shape)}, this quantizer's is {expected}")
        self.vq.codebook = F.normalize(embedding.float(), dim=-1)
        self.vq._codebook.initted.fill_(True)


def _vector_quantize(rows: int, dim: int, *, synchronised: bool) -> Any:
    from vector_quantize_pytorch import VectorQuantize  # seconds to import, and FSQ needs none of it

    return VectorQuantize(
        dim=dim,
        codebook_size=rows,
        use_cosine_sim=True,
        kmeans_init=True,
        decay=0.99,
        threshold_ema_dead_code=1,
        commitment_weight=0.25,
        sync_codebook=synchronised,
    )


def build_quantizer(config: TokenizerConfig) -> GradedFSQ | CosineVQ:
    """Return the quantizer that `config` names."""
    if config.quantizer == "fsq":
        return GradedFSQ(config.fsq_grades)
    return CosineVQ(config.vq_codebook_size, config.vq_dim)
