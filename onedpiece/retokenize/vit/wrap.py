"""Put a reducer into a model, take it out again, look at what it does."""

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from onedpiece.retokenize.vit.blocks import ReducedBlocks
from onedpiece.retokenize.vit.matched import options_for_share
from onedpiece.retokenize.vit.table import build_reducer
from onedpiece.retokenize.vit.target import find_target
from onedpiece.retokenize.vit.trace import Recorder, Trace
from onedpiece.retokenize.vit.view import Reducer

Model = TypeVar("Model", bound=nn.Module)


def apply(vit: Model, name: str, *, restore: bool = False, **options: Any) -> Model:
    """Put the reducer `name` into a model and return the same model; `vit.remove()` takes it out.

    vit: a timm `VisionTransformer` (with or without LayerScale, class, distillation and register tokens,
    fused attention), or our `Tokenizer` or its encoder, whose latents are never touched. The stack of
    blocks is replaced by one that shares the blocks; parameters and the state dict stay as they are
    (except that `slimming` adds weights of its own, which need training). A second `apply` replaces the
    first. Options are the fields of the method's reducer: r, layers (counted from 0), keep, ...
    With `restore` the last block hands back a token for every original position, for dense heads and
    for models that pool by averaging.

    Raises:
        ValueError: the model, the name, an option or a layer is unknown.
    """
    target = find_target(vit)
    stack = _own(target.stack)
    if isinstance(options.get("layers"), Iterable):
        options["layers"] = tuple(options["layers"])  # it is read more than once
    reducer = build_reducer(name, target, options)
    _check_layers(getattr(reducer, "layers", None), len(stack))
    if isinstance(reducer, nn.Module):
        reducer.to(next(stack.parameters()).device).train(vit.training)
    views = target.views(stack)
    setattr(target.owner, target.attribute, ReducedBlocks(stack, views, reducer, target.layout, restore))
    target.stack.training = stack.training
    vit.remove = partial(remove, vit)  # type: ignore[assignment]
    return vit


def apply_share(vit: Model, name: str, share: float, *, restore: bool = False) -> Model:
    """Put the reducer `name` into a model so that about `share` of its patch tokens are left at the end.

    Raises:
        ValueError: as for `apply`; or the share is not in (0, 1], or the reducer has no fixed share.
    """
    target = find_target(vit)
    options = options_for_share(name, share, len(_own(target.stack)), target.num_free)
    return apply(vit, name, restore=restore, **options)


def remove(vit: Model) -> Model:
    """Take the reducer out again; does nothing where there is none."""
    target = find_target(vit)
    own = _own(target.stack)
    own.training = target.stack.training
    setattr(target.owner, target.attribute, own)
    vars(vit).pop("remove", None)
    return vit


def trace(vit: nn.Module, *inputs: Any) -> Trace:
    """Run a reduced model without gradients and keep the state behind each block, source maps included.

    `inputs` are what the model's forward takes.

    Raises:
        ValueError: no reducer is applied.
    """
    blocks = _reduced(vit)
    recorder = Recorder(blocks.reducer)
    with torch.no_grad(), _swapped(blocks, recorder):
        output = vit(*inputs)
    return Trace(output, tuple(recorder.states))


@contextmanager
def reconfigured(vit: nn.Module, **changes: Any) -> Iterator[None]:
    """Change options of the applied reducer for the length of a block (MCTF's teacher branch).

    Raises:
        ValueError: no reducer is applied, or it has weights and so cannot change.
    """
    blocks = _reduced(vit)
    before: Any = blocks.reducer
    if isinstance(before, nn.Module):
        raise ValueError(f"{type(before).__name__} has weights; apply it anew with other options")
    with _swapped(blocks, dataclasses.replace(before, **changes)):
        yield


@contextmanager
def _swapped(blocks: ReducedBlocks, reducer: Reducer) -> Iterator[None]:
    before = blocks.reducer
    blocks.reducer = reducer
    try:
        yield
    finally:
        blocks.reducer = before


def _reduced(model: nn.Module) -> ReducedBlocks:
    stack = find_target(model).stack
    if not isinstance(stack, ReducedBlocks):
        raise ValueError(f"no reducer is applied to this {type(model).__name__}; call apply() first")
    return stack


def _own(stack: Any) -> Any:
    return stack.original if isinstance(stack, ReducedBlocks) else stack


def _check_layers(layers: Iterable[int] | None, depth: int) -> None:
    outside = [layer for layer in layers or () if not 0 <= layer < depth]
    if outside:
        raise ValueError(f"layers {outside} do not exist; the model's blocks are numbered 0…{depth - 1}")
