"""Quantizers: codes and indices are each other's inverse, gradients go straight through."""

from pathlib import Path

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
    indices = torch.zeros(codebook, position + 1, dtype=torch.long)
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


def test_channels_that_a_grade_does_not_use_get_no_gradient():
    z = torch.zeros(1, 2, 3, requires_grad=True)
    GradedFSQ(((1, (5, 7)), (1, (3, 3, 5))))(z).codes.sum().backward()
    assert z.grad is not None
    assert z.grad.tolist() == [[[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]]


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
    fresh = CosineVQ(8, 4)
    before = fresh.vq.codebook.clone()
    fresh.eval()(latents(16, 4))
    assert torch.equal(fresh.vq.codebook, before)


def test_a_codebook_that_was_loaded_is_trained_on_and_not_drawn_anew():
    vq = CosineVQ(4, 4)
    vq.load_codebook(torch.eye(4).flip(0))
    vq.train()(torch.eye(4).repeat(1, 400, 1))  # each direction 400 times: none is dead, nothing to learn
    torch.testing.assert_close(vq.vq.codebook, torch.eye(4).flip(0))


def _train_codebook(rank: int, folder: str, synchronised: bool) -> None:
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    vq = CosineVQ(8, 4).train()
    if synchronised:
        vq.synchronise()
    torch.manual_seed(rank)
    for _ in range(3):
        vq(torch.randn(4, 16, 4))
    torch.save(vq.state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("synchronised", [True, False])
def test_vq_codebook_follows_all_processes_once_told_so(tmp_path: Path, synchronised: bool):
    torch.multiprocessing.start_processes(
        _train_codebook, (str(tmp_path), synchronised), nprocs=2, start_method="fork"
    )
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert one.keys() == CosineVQ(8, 4).state_dict().keys()
    assert all(torch.allclose(one[name], other[name]) for name in one) is synchronised


def test_vq_keeps_its_codebook_when_told_to_follow_all():
    vq = CosineVQ(4, 2).eval()
    vq.load_codebook(torch.eye(2).repeat(2, 1))
    before = {name: tensor.clone() for name, tensor in vq.state_dict().items()}
    vq.synchronise()
    assert not vq.vq.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in vq.state_dict().items())
