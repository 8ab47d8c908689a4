"""Watching a reducer at work."""

from typing import Any, NamedTuple

import torch

from onedpiece.retokenize.vit.view import BlockView, Layout, Reducer, Tokens


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

    def step(self, layer: int, view: BlockView, tokens: Tokens, layout: Layout) -> Tokens:
        """See `Reducer`."""
        if tokens.source is None:
            batch, count, _ = tokens.x.shape
            identity = torch.eye(count, device=tokens.x.device).expand(batch, -1, -1)
            tokens = tokens._replace(source=identity)
        tokens = self.reducer.step(layer, view, tokens, layout)
        self.states.append(tokens)
        return tokens
