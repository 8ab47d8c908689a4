"""Training a network on pixels for a set time, as `HeadModule` trains a head."""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from onedpiece.training.optimizer import SOURCES, Clock, Ema, build_optimizer
from tools.head_study.settings import Settings

Network = TypeVar("Network", bound=nn.Module)


class Fitted(NamedTuple, Generic[Network]):
    """A trained network with averaged weights, in evaluation mode, and after how many steps."""

    network: Network
    steps: int


def fit(network: Network, loss_of: Callable[[Network, int], Tensor], settings: Settings) -> Fitted[Network]:
    """Train a network until its time is over.

    Args:
        network: fresh.
        loss_of: the loss of batch number n; called in bfloat16 autocast where the settings say so.
        settings: the numbers.
    """
    schedule, numbers = settings.schedule, settings.optimizer
    optimizer = build_optimizer([network], numbers)
    average = Ema(network, settings.ema_decay)
    clock, steps = Clock(SOURCES[schedule.clock]), 0
    clock.start()
    network.train()
    while (progress := schedule.progress(clock.seconds, steps)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = numbers.lr * schedule.lr_scale(progress)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
            loss = loss_of(network, steps)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), numbers.clip)
        optimizer.step()
        average.update(network)
        steps += 1
    return Fitted(average.average, steps)
