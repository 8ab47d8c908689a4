"""Show one network originals, our reconstructions by token count, and classical formats at equal bytes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from statistics import fmean

from PIL import Image

from onedpiece._progress import Progress, no_progress
from onedpiece.bitstream import Code
from onedpiece.codec.codec import Codec
from onedpiece.codec.tensors import to_tensor
from onedpiece.evaluation.baselines import candidates, restore
from onedpiece.evaluation.downstream.base import Example, Result, Tally, Task
from onedpiece.evaluation.formats import image_format
from onedpiece.evaluation.photos import BATCH, batches
from onedpiece.metrics.pixel import psnr


@dataclass(frozen=True)
class DownstreamConfig:
    """What to show; classical formats get, for each photo and token count, the bytes that our file has.

    Raises:
        ValueError: no token count, or an empty batch.
    """

    tokens: Sequence[int] = (32, 64, 128, 256)
    against: Sequence[str] = ("webp", "jpeg")
    batch_size: int = BATCH  # photos that our network takes at once

    def __post_init__(self) -> None:
        if not self.tokens:
            raise ValueError("there are no token counts; give at least one")
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; give at least 1")


@dataclass
class _Condition:
    codec: str
    tokens: int | None
    tally: Tally
    sizes: list[int] = field(default_factory=list)
    shown: int = 0

    def add(self, example: Example, image: Image.Image, size: int | None) -> None:
        self.tally.add(example, image)
        self.shown += 1
        if size is not None:
            self.sizes.append(size)

    def result(self) -> Result:
        size = fmean(self.sizes) if self.sizes else None
        value = self.tally.value() if self.shown else nan
        # Nothing was shown, or nothing that counts was in it: there is no number, and JSON has no NaN.
        return Result(self.codec, self.tokens, size, self.shown, None if isnan(value) else value)


def run(
    examples: Sequence[Example],
    codec: Codec,
    task: Task,
    config: DownstreamConfig,
    progress: Progress = no_progress,
) -> list[Result]:
    """Return the table: the originals, ours by token count, then each format at our files' sizes.

    A format's file is the one with the best PSNR over scale and quality; photos that it cannot fit are not
    shown, and its row says how many were.

    Raises:
        ValueError: a token count that the model does not have, an unknown format, or labels by a name that
            two photos have.
        MissingFormatError: a format's library is missing.
    """
    for name in config.against:
        image_format(name)
    if task.labelled:
        _check_names(examples)
    original = _Condition("original", None, task.tally())
    ours = {count: _Condition(codec.name, count, task.tally()) for count in config.tokens}
    classical = {
        (n, count): _Condition(n, count, task.tally()) for n in config.against for count in config.tokens
    }
    done = 0
    for batch in batches(examples, config.batch_size):
        codes = codec.encode_batch([example.image for example in batch])
        for example in batch:
            original.add(example, example.image, None)
        for count, condition in ours.items():
            _show_ours(codec, batch, [code.first(count) for code in codes], condition)
        for example, code in zip(batch, codes, strict=True):
            sizes = {count: len(code.first(count).to_bytes()) for count in config.tokens}
            for name in config.against:
                _show_classical(name, example, sizes, classical)
        progress(done := done + len(batch), len(examples))
    return [condition.result() for condition in (original, *ours.values(), *classical.values())]


def _check_names(examples: Sequence[Example]) -> None:
    name, count = Counter(example.name for example in examples).most_common(1)[0] if examples else ("", 0)
    if count > 1:
        raise ValueError(
            f"{count} photos are called {name}, and labels are found by name; give the folder above them"
        )


def _show_ours(codec: Codec, batch: Sequence[Example], codes: Sequence[Code], condition: _Condition) -> None:
    for example, code, image in zip(batch, codes, codec.decode_batch(codes), strict=True):
        condition.add(example, image, len(code.to_bytes()))


def _show_classical(
    name: str, example: Example, budgets: dict[int, int], conditions: dict[tuple[str, int], _Condition]
) -> None:
    fmt = image_format(name)
    files = candidates(example.image, fmt, list(budgets.values()))
    if not files:
        return
    images = [restore(fmt, file.data, example.image.size) for file in files]
    scores = psnr(to_tensor([example.image]), to_tensor(images)).tolist()
    for count, budget in budgets.items():
        fitting = [at for at, file in enumerate(files) if len(file.data) <= budget]
        if fitting:
            best = max(fitting, key=lambda at: scores[at])
            conditions[name, count].add(example, images[best], len(files[best].data))
