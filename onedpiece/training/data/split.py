"""A held-out share that stays the same when pictures are added or shards are cut anew."""

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from onedpiece.training.data.members import Member


class Split(NamedTuple):
    """Positions, in the list that was split, of the pictures to train on and of those held out."""

    train: list[int]
    held_out: list[int]


def is_held_out(key: str, share: float) -> bool:
    """Say whether the picture called `key` is never trained on: its hash lies in the lowest `share`."""
    return int.from_bytes(sha256(key.encode()).digest()[:8], "big") < share * 2**64


def split(members: Sequence[Member], share: float) -> Split:
    """Split by the hash of the keys.

    Args:
        members: the pictures.
        share: about how many of them to hold out, in [0, 1).

    Raises:
        ValueError: nothing is left to train on.
    """
    held_out = [i for i, member in enumerate(members) if is_held_out(member.key, share)]
    taken = set(held_out)
    train = [i for i in range(len(members)) if i not in taken]
    if not train:
        raise ValueError(f"val_share {share} leaves nothing of {len(members)} pictures to train on; lower it")
    return Split(train, held_out)
