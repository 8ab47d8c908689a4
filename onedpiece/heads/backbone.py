"""The network that all heads share: codes of any length to a summary, and to features on a grid."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from onedpiece.heads.codebook import Codebook
from onedpiece.heads.config import HeadConfig
from onedpiece.heads.embed import CodeEmbedding, Queries
from onedpiece.heads.reduce import merge_in_front, reduced_blocks
from onedpiece.tokenizer import Tokenizer, key_mask
from onedpiece.tokenizer.initialize import truncated_normal
from onedpiece.tokenizer.linear_path import LinearPath
from onedpiece.tokenizer.transformer import build_blocks

# Of photographs' pixels in [0, 1], so that the linear view starts near unit variance.
PICTURE_MEAN, PICTURE_STD = 0.45, 0.25


Alteration = Callable[[Tensor], Tensor]
"""(B, 3, S, S) to the same shape."""


class Features(NamedTuple):
    """What a head goes on with.

    Attributes:
        summary: (B, W), the class token.
        places: (B, W, grid, grid), the queries; None without a grid.
        linear: (B, 3, S, S), the linear picture, standardised; None without a linear view.
    """

    summary: Tensor
    places: Tensor | None
    linear: Tensor | None


class CodeBackbone(nn.Module):
    """A pre-norm transformer over [class, queries, codes], without pixels or a decoder.

    Codes that were dropped are absent: k codes make a sequence of 1 + grid² + k tokens, and less with a
    reducer, so that the cost falls with what is kept.

    Args:
        config: of the head.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.grid, self.reducer = config.grid, config.reducer
        self.codebook = Codebook(config.tokenizer)
        self.linear_path = LinearPath(config.tokenizer) if config.linear_view else None
        self.embed = CodeEmbedding(config) if config.codes else None
        self.queries = Queries(config) if config.grid else None
        self.class_embedding = nn.Parameter(truncated_normal(1, config.width))
        self.ln_pre = nn.LayerNorm(config.width)
        blocks = build_blocks(config.width, config.heads, config.layers)
        self.transformer: Any = self._reduced(blocks, config) if self._merges("inside") else blocks
        self.ln_post = nn.LayerNorm(config.width)

    def take(self, tokenizer: Tokenizer) -> None:
        """Copy what belongs to the tokenizer: a learned codebook, and the linear path's statistics."""
        self.codebook.take(tokenizer)
        if self.linear_path is not None and tokenizer.linear_path is not None:
            self.linear_path.load_state_dict(tokenizer.linear_path.state_dict())

    def forward(
        self, codes: Tensor, lengths: Tensor | None = None, alter: Alteration | None = None
    ) -> Features:
        """Read code vectors.

        Args:
            codes: (B, k, code_dim), 1 ≤ k ≤ N, as `codebook` gives them.
            lengths: (B,) in 1…k, how many each sample has; None: all k. Not with a reducer.
            alter: what training does to the standardised linear picture.
        """
        mask = None if lengths is None else key_mask(lengths, codes.shape[1])
        linear = self._linear_picture(codes, mask)
        if linear is not None and alter is not None:
            linear = alter(linear)
        asking = self._asking(len(codes), linear)
        hidden, mask = self._joined(asking, codes, mask)
        hidden = self.ln_post(self._run(self.ln_pre(hidden), mask, asking.shape[1]))
        places = hidden[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid)) if self.grid else None
        return Features(hidden[:, 0], places, linear)

    def _merges(self, place: str) -> bool:
        return self.reducer.share < 1 and self.reducer.place == place

    def _linear_picture(self, codes: Tensor, mask: Tensor | None) -> Tensor | None:
        if self.linear_path is None:
            return None
        with torch.autocast(codes.device.type, enabled=False):
            picture: Tensor = self.linear_path.synthesise(codes.float(), mask)
        return (picture - PICTURE_MEAN) / PICTURE_STD

    def _asking(self, batch: int, linear: Tensor | None) -> Tensor:
        """The tokens that are read out in the end, (B, 1 + grid², W)."""
        summary = self.class_embedding.expand(batch, 1, -1)
        if self.queries is None:
            return summary
        return torch.cat([summary, self.queries(batch, linear)], dim=1)

    def _joined(self, asking: Tensor, codes: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The whole sequence, (B, 1 + grid² + k, W) where codes join, and which of its tokens are there."""
        if self.embed is None:
            return asking, None
        tokens = self.embed(codes)
        if self._merges("front"):
            tokens = merge_in_front(tokens, self.reducer.share)
        if mask is not None:
            mask = torch.cat([mask.new_ones(asking.shape[:2]), mask], dim=1)
        return torch.cat([asking, tokens], dim=1), mask

    def _run(self, hidden: Tensor, mask: Tensor | None, asking: int) -> Tensor:
        """Run the blocks; only the `asking` first tokens come back."""
        if self._merges("inside"):
            reduced: Tensor = self.transformer(hidden)
            return reduced[:, :asking]
        last = len(self.transformer) - 1
        for i, block in enumerate(self.transformer):
            hidden = block(hidden, mask, asking if i == last else None)
        return hidden

    @staticmethod
    def _reduced(blocks: nn.ModuleList, config: HeadConfig) -> nn.Module:
        return reduced_blocks(blocks, config.reducer, 1 + config.grid**2, config.num_tokens)
