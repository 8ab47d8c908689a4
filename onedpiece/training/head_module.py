"""The Lightning module that trains a head on codes of random length."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from onedpiece.heads import Head, HeadConfig, build_head, code_space_of, save_head, start_from
from onedpiece.tokenizer import Tokenizer
from onedpiece.training.augment import ViewConfig, draw_views
from onedpiece.training.base_module import Monitor, TrainingModule
from onedpiece.training.codes import CodeSamples, crop_prefix
from onedpiece.training.losses.heads import ObjectiveConfig, draw_mix, head_loss, mixed_loss
from onedpiece.training.metrics import NAMES, HeadMetrics, Score, counts_within
from onedpiece.training.optimizer import Ema, OptimizerConfig, ScheduleConfig
from onedpiece.training.tail_drop import Prefix, TailDropConfig, draw_prefixes

log = logging.getLogger(__name__)

COUNTS = (16, 32, 64, 128, 256)


SHORT = 192
"""Sequences below this many tokens count as short."""


class HeadModule(TrainingModule):
    """Trains one head for all token counts; its averaged weights are validated and written.

    Classes, tokenizer and code space are the data's.

    Args:
        schedule: length of the run and shape of the learning rate.
        head: task and geometry.
        objective: the losses' numbers.
        optimizer: which optimizer, and its numbers.
        tail_drop: which prefixes a step reads; one length a batch needs no mask, and short ones cost less.
        mixup: share of the steps that blend photos (see `Mix`); classifiers with one length a batch only, so
            that batches of codes of several lengths are not blended.
        mirror: whether half of the photos of a step are mirrored, in their codes; for classifiers, of codes
            of a tokenizer with a linear path.
        views: crops, flips and color jitter of the linear picture; places move only without code tokens.
        counts: token counts at validation.
        ema_decay: limit of the average's decay.
        seed: of the fresh weights and of prefix lengths.
        init_from: a head to start from, its file or the task of a bundled one: its backbone, and all of it
            for the same task and classes.
        note: beginning of what the head's file says of itself.
    """

    export_name: ClassVar[str] = "head.safetensors"
    metrics: HeadMetrics
    ema: Ema[Head]

    def __init__(
        self,
        schedule: ScheduleConfig,
        head: HeadConfig = HeadConfig(classes=("any",)),  # noqa: B008 (frozen, as all below)
        objective: ObjectiveConfig = ObjectiveConfig(),  # noqa: B008
        optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, weight_decay=0.1),  # noqa: B008
        tail_drop: TailDropConfig = TailDropConfig(lengths="per_batch", full_weight=0.0),  # noqa: B008
        mixup: float = 0.0,
        mirror: bool = False,
        views: ViewConfig = ViewConfig(),  # noqa: B008
        counts: tuple[int, ...] = COUNTS,
        ema_decay: float = 0.998,
        seed: int = 0,
        init_from: str | None = None,
        note: str = "",
    ) -> None:
        super().__init__(schedule, optimizer, seed)
        _check(head, tail_drop, mixup, views)
        if mirror and (head.task != "classify" or mixup):
            raise ValueError("mirror is for classifiers, and without mixup; set it to false")
        self.mirror = mirror
        self.signs: Tensor | None = None
        self.mixup, self.views, self.tail_drop = mixup, views, tail_drop
        self.head_config, self.objective = head, objective
        self.counts, self.ema_decay, self.note = counts, ema_decay, note
        self.code_space, self.init_from = b"", init_from
        self.scores: list[Score] = []
        self.scored_at = -1
        self.head: Head | None = None

    def setup(self, stage: str) -> None:
        """Build the head for the data's codes and classes."""
        super().setup(stage)
        if self.head is None:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            self.build(data.codec.tokenizer, data.classes, code_space_of(data.codec))

    def build(self, tokenizer: Tokenizer, classes: tuple[str, ...], code_space: bytes) -> None:
        """Make the head: for codes of a tokenizer, with these classes, from this module's seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.head = build_head(replace(self.head_config, classes=tuple(classes)), tokenizer)
        if self.init_from is not None:
            start_from(self.head, self.init_from)
        self.ema = Ema(self.head, self.ema_decay)
        self.code_space = code_space
        if self.mirror:
            self.signs = _mirror_signs(tokenizer)

    @property
    def averaged(self) -> Head:
        """The head with averaged weights: what is validated and written."""
        return self.ema.average

    @property
    def monitor(self) -> Monitor | None:
        """The task's score at the largest token count of validation."""
        if self.head is None or not self.counts:
            return None
        name = NAMES[self.head_config.task]
        count = counts_within(self.counts, self.head.config.num_tokens)[-1]
        return Monitor(f"val/{name}_{count}", larger_is_better=name != "absrel")

    def learners(self) -> Sequence[nn.Module]:
        """Return the head."""
        assert self.head is not None
        return [self.head]

    def batch_size(self, batch: CodeSamples) -> int:
        """Return how many photos a batch has."""
        return len(batch.indices)

    def update_average(self) -> None:
        """Average the weights."""
        assert self.head is not None
        self.ema.update(self.head)

    def step_loss(self, batch: CodeSamples, generator: torch.Generator) -> Tensor:
        """Read random prefixes of a batch, and return the loss."""
        prefixes = draw_prefixes(len(batch.indices), batch.indices.shape[1], self.tail_drop, generator)
        losses = [prefix.weight * self._loss(batch, prefix, generator) for prefix in prefixes]
        return torch.stack(losses).sum()

    def _loss(self, batch: CodeSamples, prefix: Prefix, generator: torch.Generator) -> Tensor:
        assert self.head is not None
        samples = crop_prefix(batch, prefix.kept)
        mix = draw_mix(len(samples.indices), self.mixup, generator)
        drawn = None if prefix.lengths is None else prefix.lengths.to(samples.indices.device)
        lengths = _shorter(drawn, samples.lengths)
        sequence = self.head.backbone.sequence_length(prefix.kept)
        with attention_kernels(self.device, sequence):
            if mix is not None and lengths is None:
                return mixed_loss(self.head, samples, mix, self.objective)
            return self._view_loss(self.head, samples, lengths, generator)

    def _view_loss(
        self, head: Head, samples: CodeSamples, lengths: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        if not (self.views.alters or self.mirror):
            return head_loss(head(samples.indices, lengths), samples.targets, self.objective)
        views = draw_views(len(samples.indices), self.views, generator)
        codes = head.backbone.codebook(samples.indices)
        if self.mirror:
            codes = self._mirrored(codes, generator)
        output = head.read(codes, lengths, views.picture if self.views.alters else None)
        targets = samples.targets
        if isinstance(targets, Tensor) and targets.ndim == 3:
            targets = views.mask(targets)
        return head_loss(output, targets, self.objective)

    def _mirrored(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Mirror half of the photos, by chance."""
        assert self.signs is not None
        coin = torch.rand(len(codes), 1, 1, generator=generator).to(codes.device) < 0.5
        return torch.where(coin, codes * self.signs[:, : codes.shape[1]].to(codes), codes)

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self.metrics = HeadMetrics(self.averaged, self.counts)

    def validation_step(self, batch: CodeSamples, batch_idx: int) -> None:
        """Measure the averaged weights."""
        self.metrics.update(self.averaged, batch)

    def on_validation_epoch_end(self) -> None:
        """Log a score for each count."""
        self.scores, self.scored_at = self.metrics.scores(), self.steps
        self.log_dict({f"val/{name}_{tokens}": value for name, tokens, value in self.scores})
        log.info("%s", self.summary())

    def summary(self) -> str:
        """Return a line: minutes, steps, and the last scores by token count."""
        scores = ", ".join(f"{value:.3f} at {tokens}" for _, tokens, value in self.scores)
        name = self.scores[0].name if self.scores else "not validated"
        return f"{self.clock.seconds / 60:.1f} min, {self.steps} steps; {name} {scores} tokens"

    def export(self, path: Path) -> Path:
        """Write the averaged head to a file of its own, with its summary as the note."""
        note = "; ".join(part for part in (self.note, self.summary()) if part)
        return save_head(self.averaged, path, self.code_space, note)


def _check(head: HeadConfig, tail_drop: TailDropConfig, mixup: float, views: ViewConfig) -> None:
    if mixup and (head.task != "classify" or head.linear_picture or tail_drop.lengths != "per_batch"):
        raise ValueError(
            "mixup is for classifiers without a linear picture, with tail_drop.lengths per_batch; set it to 0"
        )
    if views.alters and not head.linear_picture:
        raise ValueError("views alter the linear picture, and this head has none; leave views out")
    if head.growth and tail_drop.lengths != "per_batch":
        raise ValueError(
            "a grid that grows has one size a batch; set tail_drop.lengths to per_batch, or head.growth to 0"
        )
    if views.moves and (head.codes or head.task == "detect"):
        raise ValueError(
            "views that move places disagree with code tokens and with boxes; set views.min_scale to 1 and "
            "views.flip to false, or head.codes to false"
        )


def _mirror_signs(tokenizer: Tokenizer) -> Tensor:
    """Return what mirroring multiplies code vectors by, (1, N, code_dim)."""
    if tokenizer.linear_path is None:
        raise ValueError("mirror needs a tokenizer with a linear path; set it to false")
    config = tokenizer.config
    return tokenizer.linear_path.mirrored(torch.ones(1, config.num_tokens, config.code_dim))


def _shorter(drawn: Tensor | None, there: Tensor | None) -> Tensor | None:
    """Return how many tokens of each sample are read: those drawn, and no more than there are."""
    if drawn is None or there is None:
        return there if drawn is None else drawn
    return torch.minimum(drawn, there)


def attention_kernels(device: torch.device, tokens: int) -> AbstractContextManager[None]:
    """Choose the kernel for sequences of about `tokens` tokens.

    On a CPU the fused kernel's backward is slow for short sequences in bfloat16: both ways take 35 ms at 88
    tokens and 33 ms at 350, the unfused one 19 ms and 52 ms (batch 64 and 16, two heads of 64 channels).
    """
    if device.type == "cpu" and tokens < SHORT:
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()
