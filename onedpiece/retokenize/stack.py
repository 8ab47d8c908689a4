"""The stack of blocks with a reducer in it; stands where the model's own stack stood."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FunctionType
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor, nn

from onedpiece.retokenize.block import (
    BlockAdapter,
    Layout,
    Reducer,
    Tokens,
    Uniform,
    concatenate,
    sizes,
    split,
)
from onedpiece.retokenize.groups import unmerge

# Pictures that run together on a CPU: a reduced block then works inside the caches. DeiT-S with MCTF takes
# 39 ms a picture in slices of 16 and 47-50 ms in one batch of 64 (one core, AVX-512).
SLICE = 16


class ReducedBlocks(nn.Module):
    """A model's blocks, run one after the other by a reducer.

    The blocks keep their names, so the state dict does not change. Whether the model calls the stack
    or walks it block by block, sizes travel along in an object of that one pass, never in the module.

    Args:
        original: the model's own stack, whose blocks are shared, not copied.
        adapters: one for each block.
        reducer: what to do in each of them.
        layout: which tokens are whose.
        restore: give every original position its token back behind the last block (for dense heads).
        restore_each: whoever walks the blocks gets every position back behind each of them.
    """

    def __init__(
        self,
        original: nn.Sequential | nn.ModuleList,
        adapters: Sequence[BlockAdapter],
        reducer: Reducer,
        layout: Layout,
        restore: bool = False,
        restore_each: bool = False,
    ) -> None:
        super().__init__()
        for name, block in original.named_children():
            self.add_module(name, block)
        if isinstance(reducer, nn.Module):
            self.add_module("reducer_weights", reducer)
        self.layout = layout
        self.restore, self.restore_each = restore or restore_each, restore_each
        # In tuples, so that no module is registered a second time.
        self._reducer = (reducer,)
        self._adapters = tuple(adapters)
        self._original = (original,)
        self._compiled: Callable[..., Tokens] | None = None

    @property
    def reducer(self) -> Reducer:
        """What happens in each block."""
        return self._reducer[0]

    @reducer.setter
    def reducer(self, reducer: Reducer) -> None:
        self._reducer = (reducer,)

    @property
    def original(self) -> nn.Sequential | nn.ModuleList:
        """The stack without the reducer."""
        return self._original[0]

    def __len__(self) -> int:
        return len(self._adapters)

    @overload
    def __getitem__(self, index: int) -> nn.Module: ...

    @overload
    def __getitem__(self, index: slice) -> "ReducedBlocks": ...

    def __getitem__(self, index: int | slice) -> "nn.Module | ReducedBlocks":
        """Return one unreduced block, or the first few blocks with the reducer in them.

        Raises:
            ValueError: a slice does not begin with the first block, which layer numbers count from.
        """
        if isinstance(index, int):
            return self._adapters[index].module
        chosen = range(len(self))[index]
        if list(chosen) != list(range(len(chosen))):
            raise ValueError(
                "only the first blocks of a reduced model can be cut out; remove() the reducer first"
            )
        return self._like(self.original[index], self._adapters[index], self.restore_each)

    def restoring(self) -> "ReducedBlocks":
        """Return the same blocks, which give every position back behind each of them when walked."""
        return self._like(self.original, self._adapters, restore_each=True)

    def _like(self, original: Any, adapters: Sequence[BlockAdapter], restore_each: bool) -> "ReducedBlocks":
        blocks = ReducedBlocks(original, adapters, self.reducer, self.layout, self.restore, restore_each)
        blocks.training = self.training  # of this list alone: the blocks in it are shared
        blocks._compiled = self._compiled
        return blocks

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was compiled behind: a copy, or what was pickled, starts plain."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return state | {"_compiled": None}

    def __iter__(self) -> Iterator[Callable[..., Tensor]]:
        """Walk the reduced blocks: callables (B, N, C) to (B, K, C), to be called in this order."""
        walk = _Walk(self)
        return iter([partial(walk.step, layer) for layer in range(len(self))])

    def forward(self, x: Tensor) -> Tensor:
        """Run all blocks: (B, N, C) to (B, K, C), or to (B, N, C) when restoring."""
        return self.finish(self.reduce(x, trace=self.restore))

    def reduce(self, x: Tensor, trace: bool = False) -> Tokens:
        """Run all blocks and return the last state, with the source map if `trace`."""
        return self._run(self.begin(x, trace), 0, self._slices(x))

    def walk(self, x: Tensor, trace: bool = False) -> Iterator[Tokens]:
        """Yield the state behind each block."""
        tokens = self.begin(x, trace)
        for layer in range(len(self._adapters)):
            tokens = self.step(layer, tokens)
            yield tokens

    def begin(self, x: Tensor, trace: bool = False, rotation: Tensor | None = None) -> Tokens:
        """Return the state in front of the first block.

        Raises:
            ValueError: a tracer is at work that would write a program of other numbers.
        """
        if _jit_traces() and torch.onnx.is_in_onnx_export():
            raise ValueError(
                "torch's older ONNX exporter writes other numbers for a reduced model; use dynamo=True, or "
                "onedpiece.retokenize.export.export_onnx"
            )
        count = x.shape[1]
        source = torch.eye(count, device=x.device).expand(x.shape[0], -1, -1) if trace else None
        return Tokens(x, count, None, source, rotation)

    def step(self, layer: int, tokens: Tokens) -> Tokens:
        """Run one block."""
        if self._compiled is None or torch.compiler.is_compiling() or not isinstance(self.reducer, Uniform):
            return self.reducer.step(layer, self._adapters[layer], tokens, self.layout)
        if self.reducer.active(layer, tokens, self.layout):
            tokens = tokens._replace(size=sizes(tokens))  # so that the first merge is a merge like the others
        _mark_token_counts(tokens)
        return self._compiled(self.reducer.alone(layer), self._adapters[layer], tokens, self.layout)

    def compile_blocks(self, backend: str = "inductor") -> None:
        """Compile what a block with the reducer does, once for every number of tokens.

        Raises:
            ValueError: the reducer does other work in every layer.
        """
        if not isinstance(self.reducer, Uniform):
            raise ValueError(
                f"{type(self.reducer).__name__} does other work in other layers; use torch.compile(model)"
            )
        run = FunctionType(_run_alone.__code__.replace(), globals())  # dynamo counts compilations by code
        self._compiled = torch.compile(run, backend=backend)

    def _run(self, tokens: Tokens, first: int, slices: bool) -> Tokens:
        for layer in range(first, len(self._adapters)):
            # Up to here every step is the model's own, and stays bit for bit what it was.
            if slices and self.reducer.active(layer, tokens, self.layout):
                parts = [self._run(part, layer, slices=False) for part in split(tokens, SLICE)]
                return concatenate(parts)
            tokens = self.step(layer, tokens)
        return tokens

    def _slices(self, x: Tensor) -> bool:
        if torch.compiler.is_compiling() or x.device.type != "cpu":  # the first, as it asks for no size
            return False
        return x.shape[0] > SLICE and not self.reducer.ragged

    def finish(self, tokens: Tokens) -> Tensor:
        """Bring the last state into the shape that the model expects."""
        if self.restore and tokens.source is not None:
            return unmerge(tokens.x, tokens.source)
        missing = tokens.origin - tokens.x.shape[1]
        if not self.layout.pad or missing == 0:
            return tokens.x
        cut = tokens.x.shape[1] - self.layout.tail
        zeros = tokens.x.new_zeros(tokens.x.shape[0], missing, tokens.x.shape[2])
        return torch.cat([tokens.x[:, :cut], zeros, tokens.x[:, cut:]], dim=1)


def _run_alone(reducer: Reducer, block: BlockAdapter, tokens: Tokens, layout: Layout) -> Tokens:
    return reducer.step(0, block, tokens, layout)


def _mark_token_counts(tokens: Tokens) -> None:
    """Tell the compiler which dimensions change from block to block."""
    for each in (tokens.x, tokens.size, tokens.source):
        if each is not None:
            torch._dynamo.maybe_mark_dynamic(each, 1)
    if tokens.rotation is not None:
        torch._dynamo.maybe_mark_dynamic(tokens.rotation, tokens.rotation.ndim - 2)


def _jit_traces() -> bool:
    tracing: Any = torch.jit  # which exports it to everyone but type checkers
    return bool(tracing.is_tracing())


class _Walk:
    """One walk through the blocks; remembers every state, so that checkpointing may repeat a step."""

    def __init__(self, blocks: ReducedBlocks) -> None:
        self.blocks = blocks
        self.states: dict[int, Tokens] = {}

    def step(self, layer: int, x: Tensor, rope: Tensor | None = None, **options: Any) -> Tensor:
        given = [name for name, value in options.items() if value is not None and value is not False]
        if given:
            raise NotImplementedError(
                f"a reduced model takes no {', '.join(given)}; remove() the reducer first"
            )
        if layer == 0:
            self.states[0] = self.blocks.begin(x, self.blocks.restore, rope)
        before = self.states[layer]
        # What was restored for the caller is no input; else `x` is the state, on which gradients hang.
        before = before if self.blocks.restore_each and layer else before._replace(x=x)
        after = self.blocks.step(layer, before)
        self.states[layer + 1] = after if self.blocks.restore_each else after._replace(x=x[:0, :0])
        last = layer + 1 == len(self.blocks)
        return self.blocks.finish(after) if last or self.blocks.restore_each else after.x


class Trace(NamedTuple):
    """What a reduced model did with one batch.

    Attributes:
        output: what its forward returned.
        states: the state behind each block; `states[-1].source` maps the last tokens to the first ones.
    """

    output: Any
    states: tuple[Tokens, ...]


class Recorder:
    """A reducer that asks another one for source maps and keeps every state."""

    ragged = True  # in the sense that one batch must stay in one piece

    def __init__(self, reducer: Reducer) -> None:
        self.reducer = reducer
        self.states: list[Tokens] = []

    def active(self, layer: int, tokens: Tokens, layout: Layout) -> bool:
        """See `Reducer`."""
        return self.reducer.active(layer, tokens, layout)

    def step(self, layer: int, block: BlockAdapter, tokens: Tokens, layout: Layout) -> Tokens:
        """See `Reducer`."""
        if tokens.source is None:
            batch, count, _ = tokens.x.shape
            identity = torch.eye(count, device=tokens.x.device).expand(batch, -1, -1)
            tokens = tokens._replace(source=identity)
        tokens = self.reducer.step(layer, block, tokens, layout)
        self.states.append(tokens)
        return tokens
