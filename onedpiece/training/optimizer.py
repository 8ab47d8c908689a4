"""AdamW over a network, with weight decay where it belongs, and Muon for its matrices where asked for."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.optim import AdamW, Optimizer

_TABLES = ("embedding", "latent_tokens", "mask_token")
"""Ends of the names of learned vectors: nothing multiplies them, so decay would only pull them to zero."""


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer's numbers; Muon takes the same rate, its steps scaled to the size of AdamW's."""

    lr: float = 5e-4  # the peak; the schedule scales it
    betas: tuple[float, float] = (0.9, 0.95)  # a short memory of squares, as usual for transformers
    weight_decay: float = 0.02
    clip: float = 1.0  # largest norm of the gradient; 0: no clipping
    matrices: Literal["adamw", "muon"] = "adamw"  # muon: configs/README.md compares the two


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Say whether weight decay is for this parameter: matrices and kernels, not biases, norms or tables."""
    return parameter.ndim >= 2 and not name.endswith(_TABLES)


def build_optimizers(modules: Iterable[nn.Module], config: OptimizerConfig) -> list[Optimizer]:
    """Return the optimizers that together move every trainable parameter of `modules` once.

    Muon (Jordan et al. 2024, `torch.optim.Muon`) makes each step of a matrix orthogonal; it takes what has
    two axes and decays, AdamW the rest.
    """
    named = [pair for module in modules for pair in module.named_parameters() if pair[1].requires_grad]
    if config.matrices == "adamw":
        return [_adamw(named, config)]
    matrices = [p for name, p in named if _is_matrix(name, p)]
    rest = [(name, p) for name, p in named if not _is_matrix(name, p)]
    optimizers: list[Optimizer] = [_adamw(rest, config)] if rest else []
    if matrices:
        from torch.optim import Muon  # from torch 2.9 on

        optimizers.append(Muon(matrices, config.lr, config.weight_decay, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def build_optimizer(modules: Iterable[nn.Module], config: OptimizerConfig) -> AdamW:
    """Return AdamW over the trainable parameters of `modules`, in two groups (see `decays`).

    Raises:
        ValueError: the config asks for Muon, which takes two optimizers and manual optimisation.
    """
    if config.matrices != "adamw":
        raise ValueError(f"optimizer.matrices is {config.matrices}, which this training has not; use adamw")
    named = [pair for module in modules for pair in module.named_parameters() if pair[1].requires_grad]
    return _adamw(named, config)


def _is_matrix(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and decays(name, parameter)


def _adamw(named: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig) -> AdamW:
    named = list(named)
    groups = [
        {"params": [p for name, p in named if decays(name, p)], "weight_decay": config.weight_decay},
        {"params": [p for name, p in named if not decays(name, p)], "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=config.lr, betas=config.betas)


def train_only(module: nn.Module, parts: tuple[str, ...]) -> None:
    """Freeze everything in `module` but the children called `parts`; no parts: freeze nothing.

    Raises:
        ValueError: there is no such child.
    """
    if not parts:
        return
    children = dict(module.named_children())
    unknown = sorted(set(parts) - set(children))
    if unknown:
        raise ValueError(f"train_parts names {', '.join(unknown)}; the tokenizer has {', '.join(children)}")
    module.requires_grad_(False)
    for name, child in children.items():
        child.requires_grad_(name in parts)
        child.train(name in parts)  # a codebook that follows by moving averages has to stand still too


def learns(module: nn.Module, except_for: str) -> bool:
    """Say whether `module` has a trainable parameter outside its child `except_for`."""
    prefix = f"{except_for}."
    return any(p.requires_grad for name, p in module.named_parameters() if not name.startswith(prefix))
