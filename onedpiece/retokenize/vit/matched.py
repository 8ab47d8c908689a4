"""Options that make different reducers leave the same share of tokens, for fair comparisons."""

from typing import Any


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
