"""Indices to the code vectors that they stand for, by one table, and those to tokens of the transformer."""

from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.heads.config import HeadConfig
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.tokenizer.quantizer import CosineVQ, GradedFSQ
from onedpiece.tokenizer.transformer import truncated_normal

STEM_CHANNELS = 48

PIXELS = 4
"""Side of a grid cell in the linear picture as a head sees it."""


class CodeEmbedding(nn.Module):
    """A linear map of the code vectors of each group of neighbours, plus a learned vector of its position.

    With `embedding="position"` every position has a projection of its own: the tokens of a tokenizer with a
    linear path carry fixed DCT coefficients, so that a vector's meaning depends on its position.

    Args:
        config: of the head.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.group = config.group
        places = config.num_tokens // config.group
        projections = places if config.embedding == "position" else 1
        inputs = config.group * config.code_dim
        # Code vectors have channels in [-1, 1]: tokens then start with a deviation of about 0.3.
        scale = 15 / config.group**0.5
        self.projection = nn.Parameter(scale * truncated_normal(projections, inputs, config.width))
        self.position_embedding = nn.Parameter(truncated_normal(places, config.width))

    def length(self, count: int) -> int:
        """Return how many tokens codes of `count` tokens become."""
        return -(-count // self.group)

    def forward(self, codes: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, k, code_dim) to (B, length(k), width); mask: (B, k) bool, which of them are there."""
        if self.group > 1 and mask is not None:  # a group may be there in part
            codes = codes * mask[..., None]
        codes = F.pad(codes, (0, 0, 0, -codes.shape[1] % self.group))
        grouped = codes.reshape(codes.shape[0], -1, self.group * codes.shape[2])
        count = grouped.shape[1]
        # One matrix product a position; a shared projection is broadcast.
        projected = torch.matmul(grouped.transpose(0, 1), self.projection[:count]).transpose(0, 1)
        out: Tensor = projected + self.position_embedding[:count]
        return out


class Queries(nn.Module):
    """Learned queries on a grid, which attend to the codes; on request with features of the linear picture.

    Args:
        config: of the head, with a grid.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.grid = config.grid
        self.query_embedding = nn.Parameter(truncated_normal(config.grid**2, config.width))
        self.stem = PictureStem(config) if config.linear_picture else None

    def forward(self, batch: int, side: int, linear: Tensor | None) -> Tensor:
        """Return (batch, side², width).

        Args:
            batch: photos.
            side: of the grid.
            linear: (batch, 3, S, S), S = PIXELS · side, standardised; or None.
        """
        queries = self._places(side).expand(batch, -1, -1)
        if self.stem is None or linear is None:
            return queries
        seen: Tensor = self.stem(linear).flatten(2).transpose(1, 2)
        return queries + seen

    def _places(self, side: int) -> Tensor:
        """Return the learned vectors on a grid of `side` · `side`, (side², width)."""
        if side == self.grid:
            return self.query_embedding
        whole = self.query_embedding.T.reshape(1, -1, self.grid, self.grid)
        fewer = F.interpolate(whole, (side, side), mode="bilinear", align_corners=False)
        return fewer[0].flatten(1).T


class PictureStem(nn.Module):
    """The linear picture, of four pixels a cell, to features on the grid by two convolutions, or more.

    Overlapping convolutions learn from few photos what a bare projection of patches does not.

    Args:
        config: of the head, with a grid.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.halve_1 = nn.Conv2d(3, STEM_CHANNELS, 3, 2, 1)
        self.halve_2 = nn.Conv2d(STEM_CHANNELS, config.width, 3, 2, 1)
        self.blocks = nn.Sequential(*(ResidualBlock(config.width) for _ in range(config.stem_blocks)))

    def forward(self, linear: Tensor) -> Tensor:
        """Map (B, 3, 4·g, 4·g) to (B, width, g, g)."""
        out: Tensor = self.blocks(self.halve_2(F.gelu(self.halve_1(linear))))
        return out


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions behind norms of groups, added; at first it adds nothing (arXiv 1603.05027)."""

    GROUPS = 8

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.GroupNorm(self.GROUPS, width), nn.GroupNorm(self.GROUPS, width)
        self.conv_1, self.conv_2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.conv_2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Add to x (B, width, g, g)."""
        x_in = F.relu(self.norm_1(x))
        out: Tensor = x + self.conv_2(F.relu(self.norm_2(self.conv_1(x_in))))
        return out


class Codebook(nn.Module):
    """Indices to code vectors, by position where the quantizer is graded.

    FSQ's vectors follow from the config and are in no file; a learned codebook is part of the state.

    Args:
        config: of the tokenizer whose codes these are; a learned codebook is zero until `take` or a load.

    Attributes:
        table: (rows, code_dim), the vectors of all codes, grade after grade.
        first: (N,), the row at which the codes of each position begin.
        sizes: (N,), how many codes each position has.
    """

    table: Tensor
    first: Tensor
    sizes: Tensor

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        graded = config.quantizer == "fsq"
        grades = [(count, prod(levels)) for count, levels in config.fsq_grades] if graded else []
        grades = grades or [(config.num_tokens, config.vq_codebook_size)]
        counts, sizes = (torch.tensor(numbers) for numbers in zip(*grades, strict=True))
        table = _graded_table(config) if graded else torch.zeros(config.vq_codebook_size, config.vq_dim)
        self.register_buffer("table", table, persistent=not graded)
        first = (sizes.cumsum(0) - sizes).repeat_interleave(counts)
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("sizes", sizes.repeat_interleave(counts), persistent=False)

    def forward(self, indices: Tensor) -> Tensor:
        """Return the (B, k, code_dim) vectors of (B, k) indices, each below the size of its position."""
        return F.embedding(indices + self.first[: indices.shape[1]], self.table)

    def take(self, tokenizer: Tokenizer) -> None:
        """Copy a learned codebook from the tokenizer that learned it; nothing to do for FSQ."""
        if isinstance(tokenizer.quantizer, CosineVQ):
            self.table.copy_(tokenizer.quantizer.vq.codebook)


@torch.no_grad()
def _graded_table(config: TokenizerConfig) -> Tensor:
    """Return the vectors of all codes, grade after grade, (sum of the sizes, code_dim)."""
    parts = []
    for _, levels in config.fsq_grades:
        every = torch.arange(prod(levels))[:, None]
        codes = GradedFSQ(((1, levels),)).codes_from_indices(every)[:, 0]
        parts.append(F.pad(codes, (0, config.code_dim - codes.shape[1])))
    return torch.cat(parts)
