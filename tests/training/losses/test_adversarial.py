import pytest
import torch
from torch import Tensor, nn

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


class Mean(nn.Module):
    """Judges a picture by four times its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(4.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x.mean(dim=(1, 2, 3), keepdim=True)


def test_the_brake_follows_running_means() -> None:
    adversary = Adversary(AdversarialConfig(weight=1.0, width=8, lecam=0.5))
    adversary.network = Mean()
    image, target = torch.full((2, 3, 8, 8), 0.25), torch.full((2, 3, 8, 8), 0.5)
    # Logits 2 and 1: means 0.01 of that, hinge ½ (0 + 2), LeCam (2 - 0.01)² + 0.
    loss = adversary.discriminator_loss(image, target)
    assert loss.item() == pytest.approx(1 + 0.5 * 1.99**2)
    loss.backward()
    adversary.discriminator_loss(image, target).backward()  # the means have no graph of the step before
    # Twice a hundredth of the way: 2 · (1 - 0.99²) and half of it.
    assert adversary.means.tolist() == pytest.approx([0.0398, 0.0199])


def test_patches_of_seventy_pixels_from_minus_one_to_one() -> None:
    network = Adversary(AdversarialConfig(weight=1.0, width=8)).network
    seen: list[Tensor] = []
    network.layers.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    # 64 → 32 → 16 → 8 by halvings, → 7 → 6 by kernels of four.
    assert network(torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1).expand(1, 3, 64, 64)).shape == (1, 1, 6, 6)
    assert seen[0][0, :, 0, 0].tolist() == [-1, 0, 1]


def test_a_logit_does_not_depend_on_its_batch() -> None:
    network = Adversary(AdversarialConfig(weight=1.0, width=8)).network
    x = torch.rand(3, 3, 64, 64)
    assert torch.allclose(network(x)[:1], network(x[:1]), atol=1e-5)


def test_start_head_start_and_ramp() -> None:
    config = AdversarialConfig(weight=0.1, start=0.5, head_start=0.1, ramp=0.2)
    assert [config.trains_at(p) for p in (0.35, 0.4, 1.0)] == [False, True, True]
    assert [config.weight_at(p) for p in (0.45, 0.6, 0.9)] == pytest.approx([0.0, 0.05, 0.1])
    assert not AdversarialConfig().trains_at(1.0)
