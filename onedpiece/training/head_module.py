"""The Lightning module that trains a head on codes of random length."""

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Optimizer

from onedpiece.heads import Head, HeadConfig, build_head, code_space_of, save_head
from onedpiece.tokenizer import Tokenizer
from onedpiece.training.augment import ViewConfig, draw_views
from onedpiece.training.codes import CodeSamples, crop_prefix
from onedpiece.training.data.sampling import generator_for
from onedpiece.training.ema import Ema
from onedpiece.training.losses.heads import ObjectiveConfig, draw_mix, head_loss, mixed_loss
from onedpiece.training.metrics import HeadMetrics, Score
from onedpiece.training.optimizer import OptimizerConfig, build_optimizer
from onedpiece.training.schedule import SOURCES, Clock, ScheduleConfig
from onedpiece.training.tail_drop import Prefix, PrefixConfig, draw_prefixes

log = logging.getLogger(__name__)

COUNTS = (16, 32, 64, 128, 256)


SHORT = 192
"""Sequences below this many tokens count as short."""


class HeadModule(LightningModule):
    """Trains one head for all token counts; its averaged weights are validated and written.

    Classes, tokenizer and code space are the data's; `optimizer.clip` is the trainer's `gradient_clip_val`.

    Args:
        schedule: length of the run and shape of the learning rate.
        head: task and geometry.
        objective: the losses' numbers.
        optimizer: AdamW's numbers.
        prefixes: which prefixes a step reads; one length a batch needs no mask, and short ones cost less.
        mixup: share of the steps that blend photos (see `Mix`); classifiers with one length a batch only.
        views: crops, flips and lights of the linear picture; crops and flips only where no code tokens join.
        counts: token counts at validation.
        ema_decay: limit of the average's decay.
        seed: of the fresh weights and of prefix lengths.
        note: beginning of what the head's file says of itself.
    """

    metrics: HeadMetrics
    ema: Ema[Head]

    def __init__(
        self,
        schedule: ScheduleConfig,
        head: HeadConfig = HeadConfig(classes=("any",)),  # noqa: B008 (frozen, as all below)
        objective: ObjectiveConfig = ObjectiveConfig(),  # noqa: B008
        optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, weight_decay=0.1),  # noqa: B008
        prefixes: PrefixConfig = PrefixConfig(lengths="per_batch", full_weight=0.0),  # noqa: B008
        mixup: float = 0.0,
        views: ViewConfig = ViewConfig(),  # noqa: B008
        counts: tuple[int, ...] = COUNTS,
        ema_decay: float = 0.998,
        seed: int = 0,
        note: str = "",
    ) -> None:
        super().__init__()
        _check(head, prefixes, mixup, views)
        self.mixup, self.views = mixup, views
        self.schedule, self.head_config, self.objective = schedule, head, objective
        self.optimizer_config, self.prefixes = optimizer, prefixes
        self.counts, self.ema_decay, self.seed, self.note = counts, ema_decay, seed, note
        self.clock = Clock(SOURCES[schedule.clock])
        self.code_space = b""
        self.scores: list[Score] = []
        self.scored_at = -1
        self.head: Head | None = None

    def setup(self, stage: str) -> None:
        """Build the head for the data's codes and classes."""
        if self.head is None:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            self.build(data.codec.tokenizer, data.classes, code_space_of(data.codec))

    def build(self, tokenizer: Tokenizer, classes: tuple[str, ...], code_space: bytes) -> None:
        """Make the head: for codes of a tokenizer, with these classes, from this module's seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.head = build_head(replace(self.head_config, classes=tuple(classes)), tokenizer)
        self.ema = Ema(self.head, self.ema_decay)
        self.code_space = code_space

    @property
    def averaged(self) -> Head:
        """The head with averaged weights: what is validated and written."""
        return self.ema.average

    @property
    def progress(self) -> float:
        """Share of the run that is done."""
        return self.schedule.progress(self.clock.seconds, self.global_step)

    def configure_optimizers(self) -> Optimizer:
        """Return AdamW; its rate is set before each step."""
        assert self.head is not None
        return build_optimizer([self.head], self.optimizer_config)

    def on_train_start(self) -> None:
        """Start the clock; a run that was over already ends at once."""
        self.clock.start()
        self.trainer.should_stop = self.trainer.should_stop or self.progress >= 1

    def on_train_end(self) -> None:
        """Stop it."""
        self.clock.stop()

    def on_train_batch_start(self, batch: CodeSamples, batch_idx: int) -> None:
        """Set the rate."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.optimizer_config.lr * self.schedule.rate(self.progress)

    def training_step(self, batch: CodeSamples, batch_idx: int) -> Tensor:
        """Read random prefixes of a batch, and return the loss."""
        generator = generator_for("cpu", "prefixes", self.seed, self.global_step)
        prefixes = draw_prefixes(len(batch.indices), batch.indices.shape[1], self.prefixes, generator)
        losses = [prefix.weight * self._loss(batch, prefix, generator) for prefix in prefixes]
        loss = torch.stack(losses).sum()
        self.log_dict({"train/loss": loss.detach(), "train/minutes": self.clock.seconds / 60})
        return loss

    def _loss(self, batch: CodeSamples, prefix: Prefix, generator: torch.Generator) -> Tensor:
        assert self.head is not None
        samples = crop_prefix(batch, prefix.kept)
        mix = draw_mix(len(samples.indices), self.mixup, generator)
        sequence = self.head.backbone.sequence_length(prefix.kept)
        with attention_kernels(self.device, sequence):
            if mix is not None:
                return mixed_loss(self.head, samples, mix, self.objective)
            return self._view_loss(self.head, samples, prefix.lengths, generator)

    def _view_loss(
        self, head: Head, samples: CodeSamples, lengths: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        if not self.views.alters:
            return head_loss(head(samples.indices, lengths), samples.targets, self.objective)
        views = draw_views(len(samples.indices), self.views, generator)
        output = head.read(head.backbone.codebook(samples.indices), lengths, views.picture)
        targets = samples.targets
        if isinstance(targets, Tensor) and targets.ndim == 3:
            targets = views.mask(targets)
        return head_loss(output, targets, self.objective)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and average: not later, since checkpoints are written before this module's other hooks."""
        super().optimizer_step(*args, **kwargs)
        assert self.head is not None
        self.ema.update(self.head)

    def on_train_batch_end(self, outputs: Any, batch: CodeSamples, batch_idx: int) -> None:
        """Stop at the end of the schedule."""
        self.trainer.should_stop = self.trainer.should_stop or self.progress >= 1

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self.metrics = HeadMetrics(self.averaged, self.counts)

    def validation_step(self, batch: CodeSamples, batch_idx: int) -> None:
        """Judge the averaged weights."""
        self.metrics.update(self.averaged, batch)

    def on_validation_epoch_end(self) -> None:
        """Log a score for each count."""
        self.scores, self.scored_at = self.metrics.scores(), self.global_step
        self.log_dict({f"val/{name}_{tokens}": value for name, tokens, value in self.scores})
        log.info("%s", self.summary())

    def summary(self) -> str:
        """Return a line: minutes, steps, and the last scores by token count."""
        scores = ", ".join(f"{value:.3f} at {tokens}" for _, tokens, value in self.scores)
        name = self.scores[0].name if self.scores else "not validated"
        return f"{self.clock.seconds / 60:.1f} min, {self.global_step} steps; {name} {scores} tokens"

    def export(self, path: str | Path) -> Path:
        """Write the averaged head to a file of its own, with its summary as the note."""
        note = "; ".join(part for part in (self.note, self.summary()) if part)
        return save_head(self.averaged, path, self.code_space, note)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add how far the run is."""
        checkpoint["seconds"] = self.clock.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self.clock.set(checkpoint["seconds"])


def _check(head: HeadConfig, prefixes: PrefixConfig, mixup: float, views: ViewConfig) -> None:
    if mixup and (head.task != "classify" or head.linear_picture or prefixes.lengths != "per_batch"):
        raise ValueError(
            "mixup is for classifiers without a linear picture, with prefixes.lengths per_batch; set it to 0"
        )
    if views.alters and not head.linear_picture:
        raise ValueError("views alter the linear picture, and this head has none; leave views out")
    if views.moves and (head.codes or head.task == "detect"):
        raise ValueError(
            "views that move places disagree with code tokens and with boxes; set views.min_scale to 1 and "
            "views.flip to false, or head.codes to false"
        )


def attention_kernels(device: torch.device, tokens: int) -> AbstractContextManager[None]:
    """Choose the kernel for sequences of about `tokens` tokens.

    On a CPU the fused kernel's backward is slow for short sequences in bfloat16: both ways take 35 ms at 88
    tokens and 33 ms at 350, the unfused one 19 ms and 52 ms (batch 64 and 16, two heads of 64 channels).
    """
    if device.type == "cpu" and tokens < SHORT:
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()
