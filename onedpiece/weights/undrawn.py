"""Building a network whose random start will be overwritten anyway."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_SKIPPED = {torch.Tensor.uniform_, torch.Tensor.erfinv_}


class _NoDraws(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in _SKIPPED:
            return args[0]
        if func is torch.Tensor.normal_:
            # Zeros, not whatever the memory held: torch's trunc_normal_ draws again until all are in range.
            return args[0].zero_()
        return func(*args, **(kwargs or {}))


@contextmanager
def undrawn() -> Iterator[None]:
    """Leave parameters made inside undrawn: drawing 23 M normals costs more than reading them."""
    with _NoDraws():
        yield
