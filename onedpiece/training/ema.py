"""An exponential moving average of the weights, ramped so that short runs get one too."""

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def ramped_decay(updates: int, decay: float) -> float:
    """Return min(decay, (1 + t) / (10 + t)): an average over about the last tenth of a young run.

    Args:
        updates: number of updates before this one, t.
        decay: the limit, in [0, 1).
    """
    return min(decay, (1 + updates) / (10 + updates))


class Ema(nn.Module, Generic[Model]):
    """Averages the floating-point parameters of a model, and copies its buffers.

    Args:
        model: what to follow; a deep copy of it, without gradients, becomes `average`.
        decay: the limit of the decay (see `ramped_decay`); 0 follows the model exactly.
    """

    updates: Tensor

    def __init__(self, model: Model, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay is {decay}; use a value in [0, 1)")
        self.decay = decay
        self.average: Model = deepcopy(model).eval().requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._count = 0  # mirrors the buffer: reading that one on an accelerator would wait for it

    @torch.no_grad()
    def update(self, model: Model) -> None:
        """Move the average towards `model`: average ← d · average + (1 − d) · model."""
        weight = 1.0 - ramped_decay(self._count, self.decay)
        torch._foreach_lerp_(list(self.average.parameters()), list(model.parameters()), weight)
        for mine, theirs in zip(self.average.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)
        self._count += 1
        self.updates += 1

    @torch.no_grad()
    def copy_from(self, model: Model) -> None:
        """Start again from `model`, as after other weights were loaded into it."""
        self.average.load_state_dict(model.state_dict())
        self._count = 0
        self.updates.zero_()

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._count = int(self.updates)
