"""Latents ↔ codes ↔ indices: the one file that knows vector-quantize-pytorch.

A *code* is the vector the decoder sees, an *index* the integer that goes into the file.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from vector_quantize_pytorch import FSQ, VectorQuantize

from onedpiece.tokenizer.config import Grade, TokenizerConfig


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

    Every grade has the same number of codes, so that every token costs the same; channels that a grade
    does not use are zero.

    Args:
        grades: (count, levels) in the order of the tokens.

    Source: FSQ, arXiv 2309.15505; the grading is ours (reverse water-filling over ordered coefficients).
    """

    def __init__(self, grades: tuple[Grade, ...]) -> None:
        super().__init__()
        self.counts = [count for count, _ in grades]
        self.dims = [len(levels) for _, levels in grades]
        self.code_dim = max(self.dims)
        # Symmetric levels lose 6 % less at 4 levels and 3 % less at 8 on photographs' DCT than FSQ's default.
        self.grades = nn.ModuleList(FSQ(levels=list(levels), preserve_symmetry=True) for _, levels in grades)

    def forward(self, latents: Tensor) -> Quantized:
        """Quantise (B, N, code_dim) latents, always in float32."""
        with torch.autocast(latents.device.type, enabled=False):
            pairs = [fsq(part[..., :dim]) for fsq, dim, part in self._by_grade(latents.float())]
        codes = torch.cat([self._widen(code) for code, _ in pairs], dim=1)
        indices = torch.cat([index for _, index in pairs], dim=1).long()
        return Quantized(codes, indices, codes.new_zeros(()))

    def codes_from_indices(self, indices: Tensor) -> Tensor:
        """Return the (B, k, code_dim) codes of (B, k) indices, k ≤ N."""
        codes = [self._widen(fsq.indices_to_codes(part)) for fsq, _, part in self._by_grade(indices)]
        return torch.cat(codes, dim=1)

    def _by_grade(self, tokens: Tensor) -> Iterator[tuple[Any, int, Tensor]]:
        """Cut the first k tokens, (B, k, …), by grade; fewer parts when k ends early."""
        start = 0
        for fsq, dim, count in zip(self.grades, self.dims, self.counts, strict=True):
            if start < tokens.shape[1]:
                yield fsq, dim, tokens[:, start : start + count]
            start += count

    def _widen(self, codes: Tensor) -> Tensor:
        return F.pad(codes, (0, self.code_dim - codes.shape[-1]))


class CosineVQ(nn.Module):
    """Vector quantisation with both sides L2-normalised; the codebook follows by moving averages.

    Args:
        codebook_size: rows.
        dim: channels of a row.

    Source: One-D-Piece's quantizer (arXiv 2501.10064); k-means start and EMA instead of its codebook loss.
    """

    def __init__(self, codebook_size: int, dim: int) -> None:
        super().__init__()
        self.vq = VectorQuantize(
            dim=dim,
            codebook_size=codebook_size,
            use_cosine_sim=True,
            kmeans_init=True,
            decay=0.99,
            threshold_ema_dead_code=1,
            commitment_weight=0.25,
        )
        # The library leaves zeros until k-means has run; an untrained tokenizer should decode to something.
        self.vq.codebook = F.normalize(torch.randn(codebook_size, dim), dim=-1)

    def forward(self, latents: Tensor) -> Quantized:
        """Quantise (B, N, dim) latents in float32; the codebook starts and moves in training mode only."""
        with torch.autocast(latents.device.type, enabled=False):
            if not self.training:
                return self._nearest(latents.float())
            codes, indices, loss = self.vq(latents.float())
        return Quantized(codes, indices.long(), loss.sum())

    def _nearest(self, latents: Tensor) -> Quantized:
        indices = (F.normalize(latents, dim=-1) @ self.vq.codebook.T).argmax(-1)
        return Quantized(self.codes_from_indices(indices), indices, latents.new_zeros(()))

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


def build_quantizer(config: TokenizerConfig) -> GradedFSQ | CosineVQ:
    """Return the quantizer that `config` names."""
    if config.quantizer == "fsq":
        return GradedFSQ(config.fsq_grades)
    return CosineVQ(config.vq_codebook_size, config.vq_dim)
