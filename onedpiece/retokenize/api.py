"""Put a reducer into a model by name, take it out again, look at what it does."""

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from onedpiece.retokenize.adapters import ModelSite, find_site
from onedpiece.retokenize.block import Reducer
from onedpiece.retokenize.evit import EvitReducer
from onedpiece.retokenize.imagepiece import ImagePieceReducer
from onedpiece.retokenize.matching import spread_r
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
SLIMMING_OPTIONS = ("keep_rate", "layers")


def apply(
    vit: Model, name: str, *, keep_ratio: float | None = None, restore: bool = False, **options: Any
) -> Model:
    """Put the reducer `name` into a model and return the same model; `vit.remove()` takes it out.

    vit: a timm `VisionTransformer` of plain blocks (with or without LayerScale, class, distillation and
    register tokens, QK norm) or `Eva`, one of `models`, or our `Tokenizer` or its encoder, whose latents are
    never touched. The stack of blocks is replaced by one that shares the blocks; parameters and state dict
    stay as they are, except that `slimming` adds weights of its own, which need training. A second `apply`
    replaces the first.
    Options are the fields of the method's reducer: r, layers (counted from 0), keep_rate, ... `keep_ratio`,
    in (0, 1], chooses them so that about this part of the patch tokens is left behind the last block. `r` is
    a number a layer, a list with one for each, or a pair as in ToMe (see `matching.spread_r`).
    With `restore` the last block hands back a token for every original position, for dense heads and for
    models that pool by averaging; the maps of `forward_intermediates` have every position in any case.

    Raises:
        ValueError: the model, the name, an option or a layer is unknown; the model's blocks are of a class
            that would be computed wrongly; or `keep_ratio` is out of range or comes with other options.
    """
    site = find_site(vit)
    stack = site.original
    adapters = site.adapt(stack)
    if keep_ratio is not None:
        if options:
            raise ValueError(f"keep_ratio chooses the options itself; leave {', '.join(sorted(options))} out")
        options = ratio_to_options(name, keep_ratio, len(stack), site.num_free)
    reducer = build_reducer(name, site, _spread(options, len(stack)))
    _check_layers(getattr(reducer, "layers", None), len(stack))
    if reducer.ragged and site.pools and not restore:
        raise ValueError(
            f"{name} pads pictures, and this {type(vit).__name__} pools over all tokens, padding included; "
            "give restore=True"
        )
    if isinstance(reducer, nn.Module):
        reducer.to(next(stack.parameters()).device).train(vit.training)
    reduced = ReducedBlocks(stack, adapters, reducer, site.layout, restore)
    reduced.training = site.stack.training
    setattr(site.owner, site.attribute, reduced)
    vit.remove = partial(remove, vit)  # type: ignore[assignment]
    if hasattr(type(site.owner), "forward_intermediates"):
        site.owner.forward_intermediates = partial(_forward_intermediates, site.owner)  # type: ignore[assignment]
    return vit


def remove(vit: Model) -> Model:
    """Take the reducer out again; does nothing where there is none."""
    site = find_site(vit)
    own = site.original
    own.training = site.stack.training
    setattr(site.owner, site.attribute, own)
    vars(vit).pop("remove", None)
    vars(site.owner).pop("forward_intermediates", None)
    return vit


def _forward_intermediates(vit: Any, *args: Any, **options: Any) -> Any:
    """Run timm's `forward_intermediates`, with every position restored behind every block."""
    # A twin of the module object, so that other threads see no change; parameters are shared.
    twin = object.__new__(type(vit))
    twin.__dict__ = {**vars(vit), "_modules": {**vit._modules, "blocks": vit.blocks.restoring()}}
    twin.grad_checkpointing = False  # a repeated step would begin with a restored map
    return type(vit).forward_intermediates(twin, *args, **options)


def _spread(options: dict[str, Any], depth: int) -> dict[str, Any]:
    """Bring options that may be any iterable, or that need the model's depth, into their plain form."""
    plain = dict(options)
    if isinstance(plain.get("layers"), Iterable):
        plain["layers"] = tuple(plain["layers"])  # it is read more than once
    if "r" in plain:
        plain["r"] = spread_r(plain["r"], depth)
    return plain


def compile_blocks(vit: Model, backend: str = "inductor") -> Model:
    """Compile the blocks of a reduced model, mctf's or tome's, and return the same model.

    A block is compiled once for every number of tokens, so that twelve take little longer than one;
    `torch.compile(vit)` compiles twelve numbers of tokens. The first call afterwards compiles. What is around
    the blocks stays as it is, and so do copies of the model.

    Args:
        vit: what `apply` was called on; a later `apply` or `remove` leaves the compiled blocks behind.
        backend: of `torch.compile`.

    Raises:
        ValueError: no reducer is applied, or one that does other work in other layers.
    """
    _reduced(vit).compile_blocks(backend)
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
    with _swapped(blocks, dataclasses.replace(before, **_spread(changes, len(blocks)))):
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
    stack = find_site(model).stack
    if not isinstance(stack, ReducedBlocks):
        raise ValueError(f"no reducer is applied to this {type(model).__name__}; call apply() first")
    return stack


def _check_layers(layers: Iterable[int] | None, depth: int) -> None:
    outside = [layer for layer in layers or () if not 0 <= layer < depth]
    if outside:
        raise ValueError(f"layers {outside} do not exist; the model's blocks are numbered 0…{depth - 1}")


def build_reducer(name: str, site: ModelSite, options: dict[str, Any]) -> Reducer:
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
        return SlimmingReducer(site.dim, site.num_free, **options)
    reducer: Reducer = REDUCERS[name](**options)
    return reducer


def ratio_to_options(name: str, keep_ratio: float, depth: int, num_tokens: int) -> dict[str, Any]:
    """Return options of reducer `name` that leave about `keep_ratio` of the unprotected tokens at the end.

    keep_ratio: in (0, 1]; depth: blocks of the model; num_tokens: unprotected tokens in front of them. MCTF
    and ToMe remove equally many tokens in each of their layers, the others multiply their rate thrice (or
    once, in a model too shallow for three stages).

    Raises:
        ValueError: `keep_ratio` is out of range, or what the reducer leaves depends on the picture.
    """
    if not 0 < keep_ratio <= 1:
        raise ValueError(
            f"keep_ratio is {keep_ratio}; give the part in (0, 1] of the tokens that is to be left"
        )
    excess = num_tokens * (1 - keep_ratio)
    stride = depth // 4
    ends = tuple(stride * stage for stage in (1, 2, 3)) if stride >= 2 else (depth // 2,)
    rate = keep_ratio ** (1 / len(ends))
    match name:
        case "mctf":
            return {"r": round(excess / max(depth - 1, 1))}
        case "tome":
            return {"r": round(excess / depth)}
        case "evit" | "slimming":
            return {"keep_rate": rate, "layers": ends}
        case "imagepiece":
            return {"keep_rate": rate, "schedule": _schedule(ends, depth)}
    raise ValueError(
        f"{name} leaves no fixed part of the tokens; choose evit, imagepiece, mctf, slimming or tome"
    )


def _schedule(ends: tuple[int, ...], depth: int) -> tuple[tuple[int, ...], ...]:
    """Up to three layers a round, the last of them an end; a single round takes what the depth gives."""
    if len(ends) == 1:
        return (tuple(range(min(1, depth - 1), min(4, depth))),)
    stride = ends[0]
    return tuple(tuple(range(end - min(stride, 3) + 1, end + 1)) for end in ends)
