"""Code vectors to tokens of the transformer."""

import torch
from torch import Tensor, nn

from onedpiece.heads.config import HeadConfig
from onedpiece.tokenizer.initialize import truncated_normal


class CodeEmbedding(nn.Module):
    """A linear map of each code vector, plus a learned vector of its position.

    With `embedding="position"` every position has a projection of its own: the tokens of a tokenizer with a
    linear path carry fixed DCT coefficients, so that the same vector means something else at another place.

    Args:
        config: of the head.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        places = config.num_tokens if config.embedding == "position" else 1
        # Code vectors have channels in [-1, 1]: tokens then start with a deviation of about 0.3.
        self.projection = nn.Parameter(15 * truncated_normal(places, config.code_dim, config.width))
        self.position_embedding = nn.Parameter(truncated_normal(config.num_tokens, config.width))

    def forward(self, codes: Tensor) -> Tensor:
        """Map (B, k, code_dim) to (B, k, width)."""
        count = codes.shape[1]
        # One matrix product a position; a shared projection has a single place and is broadcast.
        projected = torch.matmul(codes.transpose(0, 1), self.projection[:count]).transpose(0, 1)
        out: Tensor = projected + self.position_embedding[:count]
        return out


class Queries(nn.Module):
    """Mask tokens on a grid, which ask the codes what is where; on request each sees its part of the picture.

    Args:
        config: of the head, with a grid.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.query_embedding = nn.Parameter(truncated_normal(config.grid**2, config.width))
        patch = config.tokenizer.linear_size // config.grid
        self.patch_embed = nn.Conv2d(3, config.width, patch, patch) if config.linear_view else None

    def forward(self, batch: int, linear: Tensor | None) -> Tensor:
        """Return (batch, grid², width); linear: (batch, 3, S, S), standardised, with a linear view."""
        queries = self.query_embedding.expand(batch, -1, -1)
        if self.patch_embed is None:
            return queries
        seen: Tensor = self.patch_embed(linear).flatten(2).transpose(1, 2)
        return queries + seen
