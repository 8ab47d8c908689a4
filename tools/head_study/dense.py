"""Heads for masks, boxes and depth: their score by token count, and pictures of what they see."""

from collections.abc import Sequence
from pathlib import Path

import torch

from onedpiece.codec import Codec
from onedpiece.evaluation.overlay import overlay
from onedpiece.heads import LoadedHead
from onedpiece.training.codes import CodeDataset, Source
from onedpiece.training.codes.base import TEST
from onedpiece.training.data.sampling import OrderedBatches
from onedpiece.training.metrics import Score, evaluate
from tools.head_study.coded import COUNTS

_BATCH = 32


def dense_scores(head: LoadedHead, cache: Path, counts: Sequence[int] = COUNTS) -> list[Score]:
    """Return a head's score on a cache's test photos at each token count.

    Raises:
        WrongModelError: head and cache are of different models.
    """
    test = CodeDataset(cache, TEST, head.code_space)
    return evaluate(head.head, OrderedBatches(test.batch, torch.arange(len(test)), _BATCH), counts)


def draw_answers(
    head: LoadedHead, source: Source, codec: Codec, folder: Path, counts: Sequence[int], photos: int = 8
) -> list[Path]:
    """Draw what a head says of some test photos, one file a photo and token count.

    Args:
        head: of any task.
        source: the photos; those of its test split are taken, evenly spread.
        codec: the head's model.
        folder: where PNGs go.
        counts: of tokens.
        photos: how many.
    """
    folder.mkdir(parents=True, exist_ok=True)
    examples = [example for example in source.examples() if example.split == TEST]
    chosen = [examples[int(at)] for at in torch.linspace(0, len(examples) - 1, photos)]
    drawn = []
    for example in chosen:
        image = example.load().image
        code = codec.encode(image)
        for count in counts:
            (answer,) = head.predict(code[:count])
            path = folder / f"{Path(example.key).name}-{count:03d}.png"
            overlay(image, answer, head.head.config.classes).save(path)
            drawn.append(path)
    return drawn
