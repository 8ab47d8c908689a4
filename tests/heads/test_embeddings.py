"""The codebook of a head: each position reads the vectors of its own grade, whatever their number."""

from types import SimpleNamespace

import torch

from onedpiece.heads.embeddings import Codebook, ResidualBlock
from onedpiece.tokenizer import Tokenizer
from onedpiece.tokenizer.quantizer import GradedFSQ


def test_vectors_are_the_quantizers(fsq_tokenizer: Tokenizer, indices: torch.Tensor) -> None:
    codebook = Codebook(fsq_tokenizer.config)
    torch.testing.assert_close(codebook(indices), fsq_tokenizer.quantizer.codes_from_indices(indices))


def test_grades_may_differ_in_size() -> None:
    # Two tokens of 3 · 5 = 15 codes, one of 7 · 3 · 3 = 63: rows 0…14 and 15…77.
    grades = ((2, (3, 5)), (1, (7, 3, 3)))
    config = SimpleNamespace(quantizer="fsq", fsq_grades=grades, code_dim=3, num_tokens=3)
    codebook = Codebook(config)  # type: ignore[arg-type]
    assert codebook.table.shape == (78, 3)
    assert codebook.sizes.tolist() == [15, 15, 63]
    codes = codebook(torch.tensor([[14, 0, 62], [7, 3, 20]]))
    for row, position, grade, index in ((0, 0, 0, 14), (1, 1, 0, 3), (0, 2, 1, 62), (1, 2, 1, 20)):
        single = GradedFSQ(((1, grades[grade][1]),)).codes_from_indices(torch.tensor([[index]]))[0, 0]
        torch.testing.assert_close(codes[row, position, : len(single)], single)
    assert not codes[:, :2, 2].any()  # a channel that the first grade does not use


def test_a_fresh_residual_block_adds_nothing_and_a_trained_one_adds() -> None:
    torch.manual_seed(0)
    block, x = ResidualBlock(16), torch.randn(2, 16, 4, 4)
    assert torch.allclose(block(x), x + block.conv_2.bias.view(16, 1, 1))
    torch.nn.init.ones_(block.conv_2.weight)
    assert not torch.allclose(block(x), x, atol=0.1)
