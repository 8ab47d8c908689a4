"""The network that all heads share: codes of any length to a summary, and to features on a grid."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from onedpiece.heads.config import DENSE, HeadConfig
from onedpiece.heads.embeddings import PIXELS, Codebook, CodeEmbedding, Queries
from onedpiece.heads.reduce import merge_in_front, reduced_blocks
from onedpiece.tokenizer import Tokenizer, key_mask
from onedpiece.tokenizer.dct_path import LinearPath
from onedpiece.tokenizer.transformer import build_blocks, truncated_normal

# Of photographs' pixels in [0, 1], so that the linear picture starts near unit variance.
PICTURE_MEAN, PICTURE_STD = 0.45, 0.25


Augment = Callable[[Tensor], Tensor]
"""(B, 3, S, S) to the same shape."""


class Features(NamedTuple):
    """What a head goes on with.

    Attributes:
        summary: (B, W), the class token.
        feature_map: (B, W, side, side), the queries; None for a task that needs only the summary.
        linear: (B, 3, S, S), the linear picture, standardised, S = 4 · side; None where none is seen.
    """

    summary: Tensor
    feature_map: Tensor | None
    linear: Tensor | None


class CodeBackbone(nn.Module):
    """A pre-norm transformer over [class, queries, codes], without pixels or a decoder.

    Codes that were dropped are absent: k codes make a sequence of 1 + side² + k / group tokens, where the
    side of the grid follows k too (`HeadConfig.side`), and less with a reducer: cost falls with what is kept.

    Args:
        config: of the head.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.side, self.reducer, self.dense = config.side, config.reducer, config.task in DENSE
        self.codebook = Codebook(config.tokenizer)
        self.linear_path = LinearPath(config.tokenizer) if config.linear_picture else None
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

    def sequence_length(self, count: int) -> int:
        """Return how many tokens go into the blocks for codes of `count` tokens, before any are merged."""
        return 1 + self.side(count) ** 2 + (0 if self.embed is None else self.embed.length(count))

    def forward(
        self, codes: Tensor, lengths: Tensor | None = None, augment: Augment | None = None
    ) -> Features:
        """Read code vectors.

        Args:
            codes: (B, k, code_dim), 1 ≤ k ≤ N, as `codebook` gives them.
            lengths: (B,) in 1…k, how many each sample has; None: all k. Not with a reducer.
            augment: what training does to the standardised linear picture.
        """
        mask = None if lengths is None else key_mask(lengths, codes.shape[1])
        linear = self._linear_picture(codes, mask)
        if linear is not None and augment is not None:
            linear = augment(linear)
        context = None if self.embed is None else self.embed(codes, mask)
        return self._read(codes.shape[0], self.side(codes.shape[1]), linear, context, mask)

    def read_picture(self, picture: Tensor) -> Features:
        """Read a picture in the linear picture's place: the same network on pixels, to compare with.

        Args:
            picture: (B, 3, S, S), standardised by PICTURE_MEAN and PICTURE_STD; S a multiple of 4.

        Raises:
            ValueError: the network reads code tokens, which a picture has not.
        """
        if self.embed is not None or self.queries is None:
            raise ValueError("a head that reads code tokens cannot read a picture; set codes to false")
        return self._read(picture.shape[0], picture.shape[-1] // PIXELS, picture, None, None)

    def _read(
        self, batch: int, side: int, linear: Tensor | None, context: Tensor | None, mask: Tensor | None
    ) -> Features:
        queries, context = self._tokens(batch, side, linear, context)
        hidden, num_queries = torch.cat([queries, context], dim=1), queries.shape[1]
        hidden = self.ln_post(self._run(self.ln_pre(hidden), self._key_mask(mask, hidden), num_queries))
        feature_map = None
        if num_queries > 1:
            feature_map = hidden[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        return Features(hidden[:, 0], feature_map, linear)

    def _merges(self, place: str) -> bool:
        return self.reducer.keep_ratio < 1 and self.reducer.place == place

    def _linear_picture(self, codes: Tensor, mask: Tensor | None) -> Tensor | None:
        if self.linear_path is None:
            return None
        with torch.autocast(codes.device.type, enabled=False):
            size = PIXELS * self.side(codes.shape[1])
            picture: Tensor = self.linear_path.synthesise(codes.float(), mask, size)
        return (picture - PICTURE_MEAN) / PICTURE_STD

    def _tokens(
        self, batch: int, side: int, linear: Tensor | None, embedded: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the queries, which are read out, and the context: codes, and the grid of a classifier."""
        queries = self.class_embedding.expand(batch, 1, -1)
        context = queries[:, :0]
        if self.queries is not None:
            grid = self.queries(batch, side, linear)
            if self.dense:
                queries = torch.cat([queries, grid], dim=1)
            else:
                context = grid
        if embedded is not None:
            context = torch.cat([context, embedded], dim=1)
        if self._merges("front") and context.shape[1]:
            context = merge_in_front(context, self.reducer.keep_ratio)
        return queries, context

    def _key_mask(self, mask: Tensor | None, hidden: Tensor) -> Tensor | None:
        """Return which of all tokens are there: codes come last, and everything in front of them is."""
        if mask is None or self.embed is None:
            return None
        groups = mask[:, :: self.embed.group]  # a group is there if its first token is
        front = mask.new_ones(len(mask), hidden.shape[1] - groups.shape[1])
        return torch.cat([front, groups], dim=1)

    def _run(self, hidden: Tensor, mask: Tensor | None, num_queries: int) -> Tensor:
        """Run the blocks; only the queries, which come first, are returned."""
        if self._merges("inside"):
            reduced: Tensor = self.transformer(hidden)
            return reduced[:, :num_queries]
        last = len(self.transformer) - 1
        for i, block in enumerate(self.transformer):
            hidden = block(hidden, mask, num_queries if i == last else None)
        return hidden

    @staticmethod
    def _reduced(blocks: nn.ModuleList, config: HeadConfig) -> nn.Module:
        num_queries = 1 + config.grid**2 if config.task in DENSE else 1
        num_codes = config.num_tokens // config.group if config.codes else 0
        num_context = 1 + config.grid**2 - num_queries + num_codes
        return reduced_blocks(blocks, config.reducer, num_queries, num_context)
