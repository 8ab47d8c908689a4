"""The vectors that indices stand for, as one table: no quantizer runs where codes are only read."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.tokenizer.quantizer import CosineVQ, GradedFSQ


class Codebook(nn.Module):
    """Indices to code vectors, by position where the quantizer is graded.

    FSQ's vectors follow from the config and are in no file; a learned codebook is part of the state.

    Args:
        config: of the tokenizer whose codes these are; a learned codebook is zero until `take` or a load.
    """

    table: Tensor
    first: Tensor

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.size = config.codebook_size
        graded = config.quantizer == "fsq"
        table = _graded_table(config) if graded else torch.zeros(config.vq_codebook_size, config.vq_dim)
        self.register_buffer("table", table, persistent=not graded)
        self.register_buffer("first", _first_rows(config), persistent=False)

    def forward(self, indices: Tensor) -> Tensor:
        """Return the (B, k, code_dim) vectors of (B, k) indices."""
        return F.embedding(indices + self.first[: indices.shape[1]], self.table)

    def take(self, tokenizer: Tokenizer) -> None:
        """Copy a learned codebook from the tokenizer that learned it; nothing to do for FSQ."""
        if isinstance(tokenizer.quantizer, CosineVQ):
            self.table.copy_(tokenizer.quantizer.vq.codebook)


def _first_rows(config: TokenizerConfig) -> Tensor:
    """Return for each position where its codes begin in the table, (N,)."""
    if config.quantizer == "vq":
        return torch.zeros(config.num_tokens, dtype=torch.long)
    grades = [grade for grade, (count, _) in enumerate(config.fsq_grades) for _ in range(count)]
    return torch.tensor(grades) * config.codebook_size


@torch.no_grad()
def _graded_table(config: TokenizerConfig) -> Tensor:
    """Return the vectors of all codes, grade after grade, (grades · codebook_size, code_dim)."""
    every = torch.arange(config.codebook_size)[:, None]
    single = [GradedFSQ(((1, levels),)).codes_from_indices(every)[:, 0] for _, levels in config.fsq_grades]
    return torch.cat([F.pad(codes, (0, config.code_dim - codes.shape[1])) for codes in single])
