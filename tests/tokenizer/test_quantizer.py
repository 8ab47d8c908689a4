"""Quantizers: codes and indices are each other's inverse, gradients go straight through."""

import pytest
import torch
from vector_quantize_pytorch import FSQ

from onedpiece.tokenizer.config import GRADED_FSQ, TokenizerConfig
from onedpiece.tokenizer.quantizer import CosineVQ, GradedFSQ


def latents(tokens: int, dim: int) -> torch.Tensor:
    return torch.randn(3, tokens, dim, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("position", [0, 8, 40, 112, 255])  # the first token of each grade
def test_every_index_of_every_grade_comes_back(position: int):
    fsq, codebook = GradedFSQ(GRADED_FSQ), TokenizerConfig().codes_by_position[position]
    indices = torch.zeros(codebook, 256, dtype=torch.long)
    indices[:, position] = torch.arange(codebook)
    # Latents whose tanh is a lattice point, pulled inwards by a little, round to it again.
    again = fsq(torch.atanh(fsq.codes_from_indices(indices) * 0.999)).indices
    assert (again[:, position] == indices[:, position]).all()


@pytest.mark.parametrize("levels", [(63, 65), (15, 15, 17), (8, 8, 8, 8), (5, 3, 3, 3, 3, 3, 3)])
def test_fsq_is_the_librarys_symmetric_one(levels: tuple[int, ...]):
    z = 2 * latents(64, len(levels))
    theirs = FSQ(levels=list(levels), preserve_symmetry=True)
    codes, indices = theirs(z)
    ours = GradedFSQ(((64, levels),))(z)
    assert (ours.indices == indices).all()
    torch.testing.assert_close(ours.codes, codes, atol=1e-6, rtol=0)


def test_odd_levels_say_zero_exactly():
    codes = GradedFSQ(GRADED_FSQ)(torch.zeros(1, 256, 7)).codes
    assert (codes == 0).all()


def test_codes_from_indices_are_the_codes_of_forward():
    fsq = GradedFSQ(GRADED_FSQ)
    codes, indices, loss = fsq(latents(256, 7))
    torch.testing.assert_close(fsq.codes_from_indices(indices), codes)
    assert indices.dtype == torch.int64
    assert loss == 0
    assert (codes[:, :8, 2:] == 0).all()  # two channels in the first grade


@pytest.mark.parametrize("kept", [1, 8, 9, 100, 255])
def test_a_prefix_has_the_same_codes(kept: int):
    fsq = GradedFSQ(GRADED_FSQ)
    codes, indices, _ = fsq(latents(256, 7))
    torch.testing.assert_close(fsq.codes_from_indices(indices[:, :kept]), codes[:, :kept])


def test_fsq_gradient_is_that_of_the_bound():
    z = torch.full((1, 1, 3), 0.0, requires_grad=True)
    GradedFSQ(((1, (5, 5, 5)),))(z).codes.sum().backward()
    # code = 2/(L−1)·floor((L−1)·(tanh z + 1)/2 + ½) − 1; floor passed through, the slope is tanh′(0) = 1.
    assert z.grad is not None
    torch.testing.assert_close(z.grad, torch.ones(1, 1, 3))


def test_vq_finds_the_nearest_direction_and_gives_unit_codes():
    vq = CosineVQ(4, 2).eval()
    vq.load_codebook(torch.tensor([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [0.0, -0.1]]))
    z = torch.tensor([[[0.1, 0.02], [-3.0, 9.0], [0.2, -4.0]]])
    codes, indices, _ = vq(z)
    assert indices.tolist() == [[0, 1, 3]]
    torch.testing.assert_close(codes, torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]]))
    torch.testing.assert_close(vq.codes_from_indices(indices), codes)


def test_vq_refuses_a_codebook_of_another_shape():
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        CosineVQ(4, 2).load_codebook(torch.zeros(3, 2))


def test_vq_codebook_moves_in_training_only():
    vq = CosineVQ(8, 4)
    vq.load_codebook(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)))
    before = vq.vq.codebook.clone()
    vq.eval()(latents(16, 4))
    assert torch.equal(vq.vq.codebook, before)
    loss = vq.train()(latents(16, 4)).loss
    assert loss > 0
    assert not torch.equal(vq.vq.codebook, before)
