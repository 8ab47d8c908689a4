"""Training for a set time: the same loop for networks on codes and on pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from onedpiece.training.clock import SOURCES, Clock
from onedpiece.training.ema import Ema
from onedpiece.training.optimizer import OptimizerConfig, build_optimizer
from onedpiece.training.schedule import ScheduleConfig

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Recipe:
    """How every network of the study is trained; minutes are this process's own, on one core."""

    minutes: float = 2.0
    lr: float = 1e-3  # this and the next as in configs/head_classify_imagenette.yaml
    weight_decay: float = 0.1
    ema_decay: float = 0.998
    batch: int = 64
    seed: int = 0  # of fresh weights, order, prefixes and mirroring

    @property
    def schedule(self) -> ScheduleConfig:
        """The run's length and the shape of the learning rate."""
        return ScheduleConfig(minutes=self.minutes, warmup=0.05, floor=0.01, clock="processor")

    @property
    def optimizer(self) -> OptimizerConfig:
        """The optimizer's numbers."""
        return OptimizerConfig(lr=self.lr, weight_decay=self.weight_decay)


class Fitted(NamedTuple, Generic[Network]):
    """A trained network with averaged weights, in evaluation mode, and after how many steps."""

    network: Network
    steps: int


def fit(network: Network, loss_of: Callable[[Network, int], Tensor], recipe: Recipe) -> Fitted[Network]:
    """Train a network until its time is over.

    Args:
        network: fresh.
        loss_of: the loss of batch number n; called in bfloat16 autocast.
        recipe: the numbers.
    """
    schedule, numbers = recipe.schedule, recipe.optimizer
    optimizer = build_optimizer([network], numbers)
    average = Ema(network, recipe.ema_decay)
    clock, steps = Clock(SOURCES[schedule.clock]), 0
    clock.start()
    network.train()
    while (progress := schedule.progress(clock.seconds, steps)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = numbers.lr * schedule.rate(progress)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(network, steps)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), numbers.clip)
        optimizer.step()
        average.update(network)
        steps += 1
    return Fitted(average.average, steps)
