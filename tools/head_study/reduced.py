"""A trained head with a reducer in front: what it still knows, and how long it takes."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from torch import Tensor

from onedpiece.heads import ClassLogits, Head, ReducerConfig
from onedpiece.training.codes import CodeDataset
from tools.head_study.run import score_head
from tools.head_study.speed import rates


class Reduced(NamedTuple):
    """One share of tokens left, and what follows from it.

    Attributes:
        keep_ratio: of the tokens that are left; 1 is the head as it is.
        tokens: in the code.
        top1: in [0, 1].
        time: share of the time that the head takes as it is.
    """

    keep_ratio: float
    tokens: int
    top1: float
    time: float


def with_keep_ratio(head: Head, keep_ratio: float) -> Head:
    """Return the head with the same weights and a reducer in front that leaves that share of the tokens."""
    reduced = Head(replace(head.config, reducer=ReducerConfig(keep_ratio=keep_ratio)))
    reduced.load_state_dict(head.state_dict())
    return reduced.eval()


def reduce_in_front(
    head: Head, test: CodeDataset, keep_ratios: Sequence[float], tokens: int, batch: int = 64
) -> list[Reduced]:
    """Measure a classifier at several shares of tokens, timed in turns on the same batch.

    Args:
        head: a classifier without a reducer.
        test: photos to score it on.
        keep_ratios: in (0, 1].
        tokens: how many each code has.
        batch: photos at once where time is taken.
    """
    heads = {keep_ratio: with_keep_ratio(head, keep_ratio) for keep_ratio in (1.0, *keep_ratios)}
    codes = test.indices[:batch, :tokens].long()
    timed = rates(
        {str(keep_ratio): partial(_logits, each, codes) for keep_ratio, each in heads.items()}, batch
    )
    scores = [dict(score_head(each, test))[tokens] for each in heads.values()]
    return [
        Reduced(keep_ratio, tokens, top1, rate.share)
        for keep_ratio, top1, rate in zip(heads, scores, timed, strict=True)
    ]


def _logits(head: Head, codes: Tensor) -> Tensor:
    output = head(codes)
    assert isinstance(output, ClassLogits)
    return output.logits
