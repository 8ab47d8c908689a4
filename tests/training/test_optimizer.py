import pytest
import torch
from torch import nn

from onedpiece.training.optimizer import (
    OptimizerConfig,
    build_optimizer,
    build_optimizers,
    decays,
    learns,
    train_only,
)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 3)
        self.decoder = nn.Linear(3, 2)
        self.positional_embedding = nn.Parameter(torch.zeros(4, 2))


def test_only_matrices_decay() -> None:
    net = Net()
    by_name = {name: decays(name, parameter) for name, parameter in net.named_parameters()}
    assert by_name == {
        "positional_embedding": False,
        "encoder.weight": True,
        "encoder.bias": False,
        "decoder.weight": True,
        "decoder.bias": False,
    }


def test_groups_hold_every_trainable_parameter_once() -> None:
    net = Net()
    optimizer = build_optimizer([net], OptimizerConfig(lr=0.1, betas=(0.8, 0.7), weight_decay=0.3))
    assert all((group["lr"], group["betas"]) == (0.1, (0.8, 0.7)) for group in optimizer.param_groups)
    sizes = {
        group["weight_decay"]: sum(p.numel() for p in group["params"]) for group in optimizer.param_groups
    }
    # weights 6 + 6; biases 3 + 2 and the table 8
    assert sizes == {0.3: 12, 0.0: 13}


def test_muon_takes_the_matrices_and_adamw_the_rest() -> None:
    net = Net()
    adamw, muon = build_optimizers([net], OptimizerConfig(matrices="muon", weight_decay=0.3))
    assert isinstance(muon, torch.optim.Muon)
    assert {id(p) for p in muon.param_groups[0]["params"]} == {id(net.encoder.weight), id(net.decoder.weight)}
    # biases 3 + 2 and the table 8, none of which decays
    assert [(g["weight_decay"], sum(p.numel() for p in g["params"])) for g in adamw.param_groups] == [
        (0.0, 13)
    ]


def test_where_there_is_one_optimizer_muon_is_refused_not_ignored() -> None:
    with pytest.raises(ValueError, match=r"optimizer.matrices is muon.*use adamw"):
        build_optimizer([Net()], OptimizerConfig(matrices="muon"))


def test_muons_step_turns_every_singular_value_alike() -> None:
    net = nn.Linear(64, 64, bias=False)
    with torch.no_grad():
        net.weight.zero_()
    optimizers = build_optimizers([net], OptimizerConfig(matrices="muon", lr=0.1))
    generator = torch.Generator().manual_seed(0)
    net.weight.grad = torch.randn(64, 1, generator=generator) * torch.randn(1, 64, generator=generator)
    net.weight.grad += 0.3 * torch.randn(64, 64, generator=generator)  # one direction outweighs the others
    optimizers[-1].step()
    grown = torch.linalg.svdvals(net.weight.detach())
    before = torch.linalg.svdvals(net.weight.grad)
    assert before[0] / before.median() > 20
    assert grown[0] / grown.median() < 2


def test_muons_step_is_as_large_as_adamws_and_decays() -> None:
    net = nn.Linear(256, 16, bias=False)
    nn.init.ones_(net.weight)
    (muon,) = build_optimizers([net], OptimizerConfig(matrices="muon", lr=0.1, weight_decay=0.5))
    net.weight.grad = torch.randn(16, 256, generator=torch.Generator().manual_seed(0))
    muon.step()
    # The decay leaves 1 - 0.1 · 0.5; the step has 0.2 of the rate, about, and is 0 on average.
    step = net.weight.detach() - 0.95
    assert step.mean().abs() < 0.005
    assert step.square().mean().sqrt().item() == pytest.approx(0.02, rel=0.3)


def test_train_only_freezes_the_rest_and_its_buffers() -> None:
    net = Net().train()
    train_only(net, ("decoder",))
    assert {name for name, p in net.named_parameters() if p.requires_grad} == {
        "decoder.weight",
        "decoder.bias",
    }
    assert (net.encoder.training, net.decoder.training) == (False, True)
    assert not learns(net, except_for="decoder")
    assert len(build_optimizer([net], OptimizerConfig()).param_groups) == 2


def test_no_parts_means_all() -> None:
    net = Net()
    train_only(net, ())
    assert all(p.requires_grad for p in net.parameters())
    assert learns(net, except_for="decoder")


def test_unknown_part_is_named() -> None:
    with pytest.raises(ValueError, match=r"decodr; the tokenizer has encoder, decoder"):
        train_only(Net(), ("decodr",))
