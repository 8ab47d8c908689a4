"""Put a reducer into a model by name, take it out again, look at what it does."""

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from onedpiece.retokenize.adapters import Target, find_target
from onedpiece.retokenize.block import Reducer
from onedpiece.retokenize.evit import EvitReducer
from onedpiece.retokenize.imagepiece import ImagePieceReducer
from onedpiece.retokenize.mctf import MctfReducer
from onedpiece.retokenize.mustdrop import MustdropReducer
from onedpiece.retokenize.slimming import SlimmingReducer
from onedpiece.retokenize.stack import Recorder, ReducedBlocks, Trace
from onedpiece.retokenize.tome import TomeReducer

Model = TypeVar("Model", bound=nn.Module)


# Those without weights; slimming is built from the model's sizes.
REDUCERS: dict[str, type[Any]] = {
    "evit": EvitReducer,
    "imagepiece": ImagePieceReducer,
    "mctf": MctfReducer,
    "mustdrop": MustdropReducer,
    "tome": TomeReducer,
}
SLIMMING_OPTIONS = ("keep", "layers")


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


def build_reducer(name: str, target: Target, options: dict[str, Any]) -> Reducer:
    """Build the reducer `name` for a model.

    Raises:
        ValueError: the name or an option is unknown.
    """
    if name != "slimming" and name not in REDUCERS:
        raise ValueError(
            f"no reducer is called {name!r}; choose one of {', '.join(sorted([*REDUCERS, 'slimming']))}"
        )
    known = SLIMMING_OPTIONS if name == "slimming" else [f.name for f in dataclasses.fields(REDUCERS[name])]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"{name} has no option {', '.join(unknown)}; it knows {', '.join(known)}")
    if name == "slimming":
        return SlimmingReducer(target.dim, target.num_free, **options)
    reducer: Reducer = REDUCERS[name](**options)
    return reducer


def options_for_share(name: str, share: float, depth: int, num_tokens: int) -> dict[str, Any]:
    """Options of reducer `name` that leave about `share` of the unprotected tokens behind the last block.

    share: in (0, 1]; depth: blocks of the model; num_tokens: unprotected tokens in front of them. MCTF and
    ToMe remove equally many tokens in each of their layers, the others multiply their ratio thrice (or
    once, in a model too shallow for three rounds).

    Raises:
        ValueError: the share is out of range, or the reducer's share depends on the picture.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; give the part in (0, 1] of the tokens that is to be left")
    excess = num_tokens * (1 - share)
    stride = depth // 4
    ends = tuple(stride * turn for turn in (1, 2, 3)) if stride >= 2 else (depth // 2,)
    ratio = share ** (1 / len(ends))
    match name:
        case "mctf":
            return {"r": round(excess / max(depth - 1, 1))}
        case "tome":
            return {"r": round(excess / depth)}
        case "evit" | "slimming":
            return {"keep": ratio, "layers": ends}
        case "imagepiece":
            return {"keep": ratio, "rounds": _rounds(ends, depth)}
    raise ValueError(
        f"{name} leaves no fixed share of tokens; choose evit, imagepiece, mctf, slimming or tome"
    )


def _rounds(ends: tuple[int, ...], depth: int) -> tuple[tuple[int, ...], ...]:
    """Up to three layers a round, the last of them an end; a single round takes what the depth gives."""
    if len(ends) == 1:
        return (tuple(range(min(1, depth - 1), min(4, depth))),)
    stride = ends[0]
    return tuple(tuple(range(end - min(stride, 3) + 1, end + 1)) for end in ends)
