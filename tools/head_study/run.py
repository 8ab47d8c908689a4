"""Train one network of the study and test it at every token count."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from onedpiece.heads import Head, load_head
from onedpiece.training.cli import head_main as train_head
from onedpiece.training.codes import CodeDataset
from onedpiece.training.codes.base import TEST
from onedpiece.training.codes.dataset import OrderedBatches
from onedpiece.training.metrics import evaluate
from tools.head_study.coded import COUNTS, Kind
from tools.head_study.fit import fit
from tools.head_study.inputs import CODE_VIEWS, Input, Material
from tools.head_study.networks import fresh_vit, pixel_loss, to_network
from tools.head_study.settings import Settings

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


def train_codes(material: Material, settings: Settings, seed: int, folder: Path) -> list[Cell]:
    """Train a head by `onedpiece train-head`, leave it at FOLDER/head.safetensors, and test it."""
    model = {"seed": seed, "schedule.minutes": settings.schedule.minutes, "schedule.clock": "processor"}
    views = json.dumps(list(CODE_VIEWS))
    data = {"cache": material.cache, "model": material.codec.name, "seed": seed, "variants": views}
    words = [f"--model.{key}={value}" for key, value in model.items()]
    words += [f"--data.{key}={value}" for key, value in data.items()]
    words += [f"--trainer.default_root_dir={folder}", "--trainer.val_check_interval=1000000"]
    train_head(["fit", f"--config={settings.path}", *words])
    loaded = load_head(folder / "head.safetensors")
    test = material.codes(TEST)
    return [
        Cell("codes", seed, count, material.code_bytes(count), len(test), top1, _steps(loaded.note))
        for count, top1 in score_head(loaded.head, test)
    ]


def _steps(note: str) -> int:
    """How many steps a head's file says that its training took."""
    found = re.search(r"(\d+) steps", note)
    return int(found[1]) if found else 0


def score_head(head: Head, test: CodeDataset) -> Iterator[tuple[int, float]]:
    """Yield each token count with a head's score at it."""
    for score in evaluate(head, OrderedBatches(test, _BATCH), COUNTS):
        yield score.tokens, score.value


def train_pixels(material: Material, kind: Kind, settings: Settings, seed: int) -> list[Cell]:
    """Train a network of the head's size on pixels, files of random size, and test it."""
    config = replace(settings.head, classes=material.source.classes)
    vit = fresh_vit(config, material.codec.image_size, seed)
    loss = pixel_loss(material.training_pictures(kind), settings, seed)
    fitted = fit(vit, loss, settings)
    cells = []
    for count, pictures in material.test_pictures(kind):
        there = pictures.bytes > 0
        right = _right(fitted.network, pictures.pixels[there], pictures.targets[there])
        size = float(pictures.bytes[there].float().mean()) if len(right) else 0.0
        top1 = float(right.float().mean()) if len(right) else None
        cells.append(Cell(kind, seed, count, size, len(right), top1, fitted.steps))
    return cells


@torch.inference_mode()
def _right(network: nn.Module, pixels: Tensor, targets: Tensor) -> Tensor:
    """Return for each picture whether the network names its class, in float32."""
    starts = range(0, len(targets), _BATCH)
    parts = [network(to_network(pixels[at : at + _BATCH])).argmax(dim=1) for at in starts]
    return torch.cat(parts) == targets if parts else targets.bool()
