"""How good a head is, one number a task, by torchmetrics; and a head at several token counts.

And over a validation set: how good prefixes are, and how much of the codebook is in use.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import MeanAbsolutePercentageError, Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
from torchvision.ops import box_convert

from onedpiece.heads import Boxes, ClassLogits, DepthMap, Head, MaskLogits, Output, Task
from onedpiece.heads.outputs import resize
from onedpiece.metrics.perceptual import Net
from onedpiece.metrics.pixel import psnr
from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.training.codes import BoxTarget, CodeSamples, crop_prefix

Targets = Tensor | list[BoxTarget]

NAMES: dict[Task, str] = {"classify": "accuracy", "segment": "miou", "depth": "absrel", "detect": "ap50"}
"""The number of each task, all in [0, 1] but absrel, of which less is better."""


PERFECT_DB = 100.0
"""What an exact reconstruction counts as: infinity would swallow the mean."""


class Score(NamedTuple):
    """One number: the metric's `name`, how many `tokens` were read, and its `value`."""

    name: str
    tokens: int
    value: float


class TaskMetric:
    """One metric over many batches.

    Args:
        task: says which (see `NAMES`).
        classes: how many there are; a mask's values from there on are void.

    Raises:
        MissingExtraError: AP takes pycocotools (extra `[downstream]`), and it is not installed.
    """

    def __init__(self, task: Task, classes: int) -> None:
        self.task, self.classes = task, classes
        self._metric = _metric(task, classes)

    def update(self, output: Output, targets: Targets) -> None:
        """Take in what a head says of a batch, and what is true, on one device: from now on the metric's."""
        self._metric.to(output[0].device)
        match output:
            case ClassLogits(logits):
                assert isinstance(targets, Tensor)
                likeliest = targets.argmax(dim=1) if targets.ndim == 2 else targets
                self._metric.update(logits.float(), likeliest)
            case MaskLogits(logits):
                assert isinstance(targets, Tensor)
                guess = resize(logits.float(), targets.shape[-1]).argmax(dim=1)
                self._metric.update(guess, targets.long().clamp_max(self.classes))
            case DepthMap(meters):
                assert isinstance(targets, Tensor)
                guess = resize(meters, targets.shape[-1])[:, 0]
                self._metric.update(guess[targets > 0], targets[targets > 0])
            case Boxes():
                assert isinstance(targets, list)
                self._metric.update(_found(output), [_objects(target) for target in targets])

    def value(self) -> float:
        """Return the number over everything taken in."""
        value: Any = self._metric.compute()
        return float(value["map_50"] if self.task == "detect" else value)


def _metric(task: Task, classes: int) -> Metric:
    if task == "classify":
        return MulticlassAccuracy(classes, average="micro")
    if task == "segment":
        return MulticlassJaccardIndex(classes, ignore_index=classes)
    if task == "depth":
        return MeanAbsolutePercentageError()  # |error| / truth, which depth papers call AbsRel
    from torchmetrics.detection import MeanAveragePrecision

    precision = MeanAveragePrecision(iou_thresholds=[0.5])
    precision.warn_on_many_detections = False  # of more than 100 the surest count, as COCO has it
    return precision


def _found(output: Boxes) -> list[dict[str, Tensor]]:
    """Every query as torchmetrics wants it: precision-recall curves need the unsure ones too."""
    scores, labels = output.logits.float().softmax(dim=-1)[..., :-1].max(dim=-1)
    corners = box_convert(output.boxes.float(), "cxcywh", "xyxy")
    rows = zip(corners, scores, labels, strict=True)
    return [{"boxes": box, "scores": score, "labels": label} for box, score, label in rows]


def _objects(target: BoxTarget) -> dict[str, Tensor]:
    return {"boxes": target.boxes.float(), "labels": target.labels}


class HeadMetrics:
    """One head at several token counts.

    Args:
        head: says task, classes and the longest code.
        counts: how many tokens to read; larger ones than there are become all.
    """

    def __init__(self, head: Head, counts: Sequence[int]) -> None:
        task, classes = head.config.task, len(head.config.classes)
        self._metrics = {
            count: TaskMetric(task, classes) for count in counts_within(counts, head.config.num_tokens)
        }
        self._name = NAMES[task]

    @torch.inference_mode()
    def update(self, head: Head, samples: CodeSamples) -> None:
        """Read a batch at every count, in float32."""
        with torch.autocast(samples.indices.device.type, enabled=False):
            for count, metric in self._metrics.items():
                first = crop_prefix(samples, min(count, samples.indices.shape[1]))
                metric.update(head(first.indices, first.lengths), samples.targets)

    def scores(self) -> list[Score]:
        """Return one score a count."""
        return [Score(self._name, count, metric.value()) for count, metric in self._metrics.items()]


def evaluate(head: Head, batches: Iterable[CodeSamples], counts: Sequence[int]) -> list[Score]:
    """Return a head's score at each token count over batches; the head is put into evaluation mode."""
    metrics = HeadMetrics(head.eval(), counts)
    for samples in batches:
        metrics.update(head, samples)
    return metrics.scores()


@dataclass(frozen=True)
class ValidationConfig:
    """What validation of a tokenizer measures, on the averaged weights.

    Attributes:
        counts: token counts; larger ones than the tokenizer has are cut.
        lpips: report this LPIPS too; its weights are fetched before training starts.
    """

    counts: tuple[int, ...] = (8, 32, 128, 256)
    lpips: Net | None = None


def counts_within(counts: Sequence[int], num_tokens: int) -> tuple[int, ...]:
    """Return the token counts to look at, none above `num_tokens` and none twice."""
    return tuple(sorted({min(count, num_tokens) for count in counts}))


def grade_sizes(config: TokenizerConfig) -> tuple[int, ...]:
    """Return how many consecutive tokens share a codebook, from the first token on."""
    if config.quantizer == "vq":
        return (config.num_tokens,)
    return tuple(count for count, _ in config.fsq_grades)


class PrefixMetrics:
    """Running sums over a validation set, for each token count.

    Args:
        config: of the tokenizer that is judged.
        counts: how many tokens to decode.
        device: of the pictures.
        distance: of pictures from originals, perceptual, (B, 3, H, W) each → (B,); None: leave it out.
        sharpness: of the pictures.
    """

    def __init__(
        self,
        config: TokenizerConfig,
        counts: Sequence[int],
        device: torch.device,
        distance: Callable[[Tensor, Tensor], Tensor] | None = None,
        sharpness: float = 0.0,
    ) -> None:
        self.counts = counts_within(counts, config.num_tokens)
        self._grades = grade_sizes(config)
        self._distance, self._sharpness = distance, sharpness
        self.images = torch.zeros((), device=device)
        self.psnr = torch.zeros(len(self.counts), device=device)
        self.lpips = torch.zeros(len(self.counts), device=device)
        self.seen = torch.zeros(len(self._grades), config.codebook_size, device=device)

    @torch.no_grad()
    def update(self, tokenizer: Tokenizer, x: Tensor) -> None:
        """Take pictures x (B, 3, H, W) in [0, 1] in; always in float32."""
        with torch.autocast(x.device.type, enabled=False):
            indices = tokenizer.tokenize(x)
            for i, count in enumerate(self.counts):
                image = tokenizer.detokenize(indices[:, :count], sharpness=self._sharpness)
                self.psnr[i] += psnr(x, image).clamp(max=PERFECT_DB).sum()
                if self._distance is not None:
                    self.lpips[i] += self._distance(x, image).sum()
        self.images += len(x)
        for grade, tokens in enumerate(torch.split(indices, list(self._grades), dim=1)):
            self.seen[grade, tokens.flatten()] = 1.0

    def results(self, total: Callable[[Tensor], Tensor] = lambda x: x) -> dict[str, float]:
        """Return the means by name: `psnr_K`, `lpips_K` and `codes_used`, a share in [0, 1].

        Args:
            total: sums a tensor over all processes.
        """
        images = total(self.images)
        named = {f"psnr_{k}": value for k, value in zip(self.counts, total(self.psnr) / images, strict=True)}
        if self._distance is not None:
            lpips = total(self.lpips) / images
            named |= {f"lpips_{k}": value for k, value in zip(self.counts, lpips, strict=True)}
        used = (total(self.seen) > 0).float().mean()
        return {name: float(value) for name, value in (named | {"codes_used": used}).items()}
