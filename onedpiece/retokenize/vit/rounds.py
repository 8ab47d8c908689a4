"""ImagePiece's schedule: how many tokens each layer removes, and in which way."""

from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple, get_args

from onedpiece.retokenize.evit import num_kept

Finish = Literal["discard", "evit", "tome", "merge"]


class Turn(NamedTuple):
    """What one layer does.

    Attributes:
        action: the way of removing tokens.
        removed: how many of them.
        bottom: how many count as non-semantic, for merging inside them.
    """

    action: Finish
    removed: int
    bottom: int


@cache
def schedule(
    num_tokens: int, keep: float, rounds: tuple[tuple[int, ...], ...], finish: Finish = "discard"
) -> dict[int, Turn]:
    """Spread the work of each round evenly over its layers.

    A round that begins with n tokens ends with ⌈keep · n⌉. The excess counts as non-semantic; each
    layer but the last merges its even part of it in pairs (never more than half of all tokens), and the
    last one removes what is left, as `finish` says. `num_tokens` counts unprotected tokens only.
    """
    turns: dict[int, Turn] = {}
    for layers in rounds:
        start, goal = num_tokens, num_kept(num_tokens, keep)
        for done, layer in enumerate(layers, start=1):
            action: Finish = finish if done == len(layers) else "merge"
            target = start - round((start - goal) * done / len(layers))
            removed = max(num_tokens - target, 0)
            if action in ("merge", "tome"):
                removed = min(removed, num_tokens // 2)
            turns[layer] = Turn(action, removed, max(num_tokens - goal, 2 * removed))
            num_tokens -= removed
    return turns


def check_rounds(keep: float, rounds: Sequence[Sequence[int]], finish: str) -> None:
    """Refuse a schedule that cannot be run.

    Raises:
        ValueError: `keep` is no share, `finish` is unknown, or layers are empty or out of order.
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep is {keep}; give the share in (0, 1] of its tokens that a round leaves")
    if finish not in get_args(Finish):
        raise ValueError(f"finish is {finish!r}; choose one of {', '.join(get_args(Finish))}")
    layers = [layer for turns in rounds for layer in turns]
    if layers != sorted(set(layers)) or not all(rounds):
        raise ValueError(f"rounds are {rounds}; give increasing layers, at least one a round")
