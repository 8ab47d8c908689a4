"""Building a module for weights that are about to be loaded: nothing is drawn, and nothing global counts."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class _MetaParameters(TorchFunctionMode):
    """Put what layers allocate for their parameters, by `torch.empty`, on the meta device."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        return func(*args, **(kwargs | {"device": "meta"} if func is torch.empty else kwargs))


@contextmanager
def no_init_weights() -> Iterator[None]:
    """Build modules inside whose parameters take no memory and no time, for `load_state_dict(assign=True)`.

    Parameters are on the meta device. Buffers are real, in float32 and on the CPU, whatever the default dtype
    and device are: those that no state dict holds (tables, bases) need no second step. The default dtype,
    device and random generator are afterwards what they were before.
    """
    default = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), _MetaParameters():
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(default)


def assign_weights(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a module that was built under `no_init_weights` its weights, strictly, as float32.

    Args:
        module: what to fill.
        state: by name, of any float type; float32 tensors are taken over, not copied.

    Raises:
        RuntimeError: names are missing or unknown, or a shape differs.
    """
    wide = {name: each.float() if each.is_floating_point() else each for name, each in state.items()}
    module.load_state_dict(wide, strict=True, assign=True)
