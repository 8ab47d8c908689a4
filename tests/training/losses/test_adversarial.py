import pytest
import torch

from onedpiece.training.losses.adversarial import (
    AdversarialConfig,
    Adversary,
    discriminator_hinge,
    generator_hinge,
    lecam,
)


def test_hinges_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.5])
    # ½ (mean(0, 0.5) + mean(0, 1.5)) = ½ (0.25 + 0.75)
    assert discriminator_hinge(real, fake).item() == pytest.approx(0.5)
    assert generator_hinge(fake).item() == pytest.approx(1.25)  # −(−3 + 0.5) / 2


def test_lecam_by_hand() -> None:
    # relu(2 − 0.5)² + relu(1 − (−1))² = 2.25 + 4
    value = lecam(torch.tensor([2.0]), torch.tensor([-1.0]), torch.tensor(1.0), torch.tensor(0.5))
    assert value.item() == pytest.approx(6.25)


def test_fooling_moves_the_picture_only() -> None:
    adversary = Adversary(AdversarialConfig(weight=1.0, width=8))
    image = torch.rand(2, 3, 64, 64, requires_grad=True)
    adversary.generator_loss(image).backward()
    assert image.grad is not None
    assert float(image.grad.abs().sum()) > 0
    assert all(p.grad is None and p.requires_grad for p in adversary.parameters())


def test_learning_moves_the_discriminator_only() -> None:
    adversary = Adversary(AdversarialConfig(weight=1.0, width=8, lecam=0.1))
    image = torch.rand(2, 3, 64, 64, requires_grad=True)
    adversary.discriminator_loss(image, torch.rand(2, 3, 64, 64)).backward()
    assert image.grad is None
    assert all(p.grad is not None for p in adversary.parameters())
    assert float(adversary.means.abs().sum()) > 0


def test_a_logit_does_not_depend_on_its_batch() -> None:
    network = Adversary(AdversarialConfig(weight=1.0, width=8)).network
    x = torch.rand(3, 3, 64, 64)
    assert torch.allclose(network(x)[:1], network(x[:1]), atol=1e-5)


def test_start_head_start_and_ramp() -> None:
    config = AdversarialConfig(weight=0.1, start=0.5, head_start=0.1, ramp=0.2)
    assert [config.trains_at(p) for p in (0.35, 0.4, 1.0)] == [False, True, True]
    assert [config.weight_at(p) for p in (0.45, 0.6, 0.9)] == pytest.approx([0.0, 0.05, 0.1])
    assert not AdversarialConfig().trains_at(1.0)
