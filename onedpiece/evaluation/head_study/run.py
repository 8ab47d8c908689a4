"""Train one network of the study and test it at every token count."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from onedpiece.evaluation.head_study.coded import COUNTS, Kind
from onedpiece.evaluation.head_study.fit import Recipe, fit
from onedpiece.evaluation.head_study.inputs import Input, Material
from onedpiece.evaluation.head_study.networks import (
    code_loss,
    fresh_head,
    fresh_vit,
    pixel_loss,
    to_network,
)
from onedpiece.heads import Head, HeadConfig
from onedpiece.training.codes import CodeDataset
from onedpiece.training.codes.data import OrderedBatches
from onedpiece.training.codes.source import TEST, TRAIN
from onedpiece.training.heads.metrics import evaluate

_BATCH = 100  # photos that are tested together


class Cell(NamedTuple):
    """One number of the study.

    Attributes:
        input: what the network reads.
        seed: of its training.
        tokens: how many our file has.
        bytes: mean size of the files that were shown.
        photos: how many were shown; a photo that fits no file is not.
        top1: share that was right, in [0, 1]; None where none was shown.
        steps: that the training took in its minutes.
    """

    input: Input
    seed: int
    tokens: int
    bytes: float
    photos: int
    top1: float | None
    steps: int


class Trained(NamedTuple):
    """A trained network and its numbers."""

    network: nn.Module
    cells: list[Cell]


def train_codes(material: Material, config: HeadConfig, recipe: Recipe) -> Trained:
    """Train a head on codes, prefixes of random length, and test it."""
    train, test = material.codes(TRAIN), material.codes(TEST)
    head = fresh_head(replace(config, classes=test.facts.classes), material.codec, recipe.seed)
    fitted = fit(head, code_loss(train, recipe), recipe)
    cells = [
        Cell("codes", recipe.seed, count, material.code_bytes(count), len(test), top1, fitted.steps)
        for count, top1 in score_head(fitted.network, test)
    ]
    return Trained(fitted.network, cells)


def score_head(head: Head, test: CodeDataset) -> Iterator[tuple[int, float]]:
    """Yield each token count with a head's score at it."""
    for score in evaluate(head, OrderedBatches(test, _BATCH), COUNTS):
        yield score.tokens, score.value


def train_pixels(material: Material, kind: Kind, config: HeadConfig, recipe: Recipe) -> Trained:
    """Train a network of the head's size on pixels, files of random size, and test it."""
    config = replace(config, classes=material.source.classes)
    vit = fresh_vit(config, material.codec.side, recipe.seed)
    fitted = fit(vit, pixel_loss(material.training_pictures(kind), recipe), recipe)
    cells = []
    for count, pictures in material.test_pictures(kind):
        there = pictures.bytes > 0
        right = _right(fitted.network, pictures.pixels[there], pictures.targets[there])
        size = float(pictures.bytes[there].float().mean()) if len(right) else 0.0
        top1 = float(right.float().mean()) if len(right) else None
        cells.append(Cell(kind, recipe.seed, count, size, len(right), top1, fitted.steps))
    return Trained(fitted.network, cells)


@torch.inference_mode()
def _right(network: nn.Module, pixels: Tensor, targets: Tensor) -> Tensor:
    """Return for each picture whether the network names its class, in float32."""
    starts = range(0, len(targets), _BATCH)
    parts = [network(to_network(pixels[at : at + _BATCH])).argmax(dim=1) for at in starts]
    return torch.cat(parts) == targets if parts else targets.bool()
