"""SiT's modules against the authors' code, and their losses by hand."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from onedpiece.retokenize.losses import consistency_loss, recalibration_loss
from onedpiece.retokenize.slimming import ReverseSlimming, SlimmingReducer, TokenSlimming, slim


def test_slimming_matches_the_authors_code(data: Path) -> None:
    vectors = load_file(data / "sit_tsm.safetensors")
    module = TokenSlimming(32, 10)
    module.load_state_dict({key[6:]: value for key, value in vectors.items() if key.startswith("state.")})
    with torch.no_grad():
        slimmed = module(vectors["x"])
    torch.testing.assert_close(slimmed.x, vectors["y"], atol=1e-5, rtol=0)
    torch.testing.assert_close(slimmed.size.sum(dim=(1, 2)), torch.full((2,), 40.0))


def test_equal_logits_are_the_mean() -> None:
    slimmed = slim(torch.tensor([[[1.0], [2.0], [6.0]]]), torch.zeros(1, 3, 2))
    torch.testing.assert_close(slimmed.x, torch.full((1, 2, 1), 3.0))
    torch.testing.assert_close(slimmed.size, torch.full((1, 2, 1), 1.5))  # 3 tokens shared by 2
    torch.testing.assert_close(slimmed.source, torch.full((1, 2, 3), 1 / 3))


def test_reverse_slimming_recovers_the_number_of_tokens() -> None:
    torch.manual_seed(0)
    module = ReverseSlimming(8, keep=5, num_tokens=20)
    recovered = module(torch.randn(2, 5, 8))
    assert recovered.shape == (2, 20, 8)
    recovered.sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_the_channel_mlp_of_reverse_slimming_is_added() -> None:
    torch.manual_seed(0)
    module, x = ReverseSlimming(8, keep=5, num_tokens=20), torch.randn(2, 5, 8)
    for parameter in module.mix_channels[-1].parameters():
        torch.nn.init.zeros_(parameter)
    mixed = module.mix_tokens(module.norm_tokens(x).transpose(1, 2)).transpose(1, 2)
    assert torch.equal(module(x), mixed)


def test_stages_halve_and_round_up_as_the_paper_does() -> None:
    stages = SlimmingReducer(8, 196).stages.values()
    assert [stage.keep for stage in stages] == [98, 49, 25]


def test_recalibration_loss() -> None:
    # Student even odds, teacher 3:1: KL(teacher ‖ student) = .75 ln 1.5 + .25 ln .5 = 0.1308 nats;
    # the cross-entropy is ln 2, the tokens differ by 1 and by 3: mean of squares (1 + 9) / 2.
    teacher = torch.tensor([[0.75, 0.25]]).log()
    zeros, ones = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)
    loss = recalibration_loss(torch.zeros(1, 2), teacher, [zeros, zeros], [ones, 3 * ones], torch.tensor([0]))
    assert loss.target.item() == pytest.approx(0.6931, abs=1e-4)
    assert loss.tokens.item() == pytest.approx(5.0)
    assert loss.logits.item() == pytest.approx(0.1308, abs=1e-4)
    assert loss.total.item() == pytest.approx(0.6931 + 2 * 5 + 2 * 0.1308, abs=1e-3)


def test_nothing_of_the_teacher_is_taught() -> None:
    student, teacher = (torch.rand(2, 3, requires_grad=True) for _ in range(2))
    mine, theirs = (torch.rand(2, 4, 3, requires_grad=True) for _ in range(2))
    recalibration_loss(student, teacher, [mine], [theirs], torch.tensor([0, 1])).total.backward()
    assert (teacher.grad, theirs.grad) == (None, None)
    assert student.grad is not None
    assert mine.grad is not None


def test_recalibration_needs_a_teacher_for_each_stage() -> None:
    logits, tokens = torch.zeros(1, 2), torch.zeros(1, 2, 2)
    with pytest.raises(ValueError, match="2 recovered and 1 teacher stages"):
        recalibration_loss(logits, logits, [tokens, tokens], [tokens], torch.tensor([0]))


def test_consistency_counts_the_sure_only() -> None:
    # Sample 0 gives its target 0.9 and is 2 away from the teacher; sample 1 gives 0.1 and does not count.
    student = torch.tensor([[0.9, 0.1], [0.9, 0.1]]).log()
    features, teacher = torch.zeros(2, 3), torch.tensor([[2.0] * 3, [9.0] * 3], requires_grad=True)
    features.requires_grad_()
    loss = consistency_loss(student, student, features, teacher, torch.tensor([0, 1]))
    assert loss.consistency.item() == pytest.approx(4.0)
    assert loss.total.item() == pytest.approx(2 * loss.student.item() + 3 * 4.0)
    loss.total.backward()
    assert teacher.grad is None
    assert features.grad is not None
    assert features.grad[1].abs().sum() == 0


def test_consistency_without_a_sure_sample_is_zero() -> None:
    logits, features = torch.zeros(2, 10), torch.ones(2, 3)
    loss = consistency_loss(logits, logits, features, 0 * features, torch.tensor([0, 1]))
    assert loss.consistency.item() == 0
