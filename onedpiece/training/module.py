"""The Lightning module that trains a tokenizer."""

import logging
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer

from onedpiece.tokenizer import Tokenizer, TokenizerConfig
from onedpiece.training.clock import SOURCES, Clock
from onedpiece.training.ema import Ema
from onedpiece.training.losses.adversarial import AdversarialConfig, Adversary
from onedpiece.training.losses.metric_network import MetricNetwork, Net, checkpoint_path
from onedpiece.training.losses.perceptual import PerceptualConfig, PerceptualLoss
from onedpiece.training.losses.pixel import PixelConfig
from onedpiece.training.objective import Decoded, Objective, Strengths, Terms
from onedpiece.training.optimizer import OptimizerConfig, build_optimizers, learns, train_only
from onedpiece.training.prefix_metrics import PrefixMetrics
from onedpiece.training.prefixes import Prefix, PrefixConfig, draw_prefixes
from onedpiece.training.retokenize_front_end import FrontEndConfig, merge_patches
from onedpiece.training.schedule import ScheduleConfig
from onedpiece.training.seeds import generator_for
from onedpiece.training.start import Statistics, build_tokenizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ValidationConfig:
    """What validation measures, on the averaged weights."""

    counts: tuple[int, ...] = (8, 32, 128, 256)  # token counts; larger ones than the tokenizer has are cut
    lpips: Net | None = None  # report this LPIPS too, where its weights are on this machine


class TokenizerModule(LightningModule):
    """Trains a tokenizer on prefixes of its codes.

    Optimisation is manual, with and without a discriminator: there is one path to read. The Trainer's
    `gradient_clip_val` and `accumulate_grad_batches` therefore do not apply; see `optimizer.clip`.

    Args:
        schedule: length of the run and shape of the learning rate.
        tokenizer: a preset's name, or a geometry with the fields of `TokenizerConfig`.
        init_from: folder of weights to start from; None: fresh ones.
        statistics: where the linear path's statistics come from.
        retokenize: what merges patches inside the encoder.
        train_parts: children of the tokenizer that learn, as in [decoder]; empty: all.
        optimizer: which optimizer, and its numbers.
        prefixes: which prefixes a step decodes.
        pixel: the pixel loss.
        perceptual: the perceptual loss.
        adversarial: the discriminator and its loss.
        quantizer_weight: of the quantizer's own loss (0 for FSQ anyway).
        ema_decay: limit of the average's decay.
        validation: what validation measures.
        seed: of prefix lengths and views.
        matmul_precision: of float32 products: `medium` takes bfloat16 units, on a CPU with AMX too.
        compile_network: compile encoder and decoder; wants prefixes.lengths=per_sample.
    """

    def __init__(
        self,
        schedule: ScheduleConfig,
        tokenizer: str | TokenizerConfig = "ti-256",
        init_from: str | None = None,
        statistics: Statistics = "none",
        retokenize: FrontEndConfig = FrontEndConfig(),  # noqa: B008
        train_parts: tuple[str, ...] = (),
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008 (frozen, as all below)
        prefixes: PrefixConfig = PrefixConfig(),  # noqa: B008
        pixel: PixelConfig = PixelConfig(),  # noqa: B008
        perceptual: PerceptualConfig = PerceptualConfig(),  # noqa: B008
        adversarial: AdversarialConfig = AdversarialConfig(),  # noqa: B008
        quantizer_weight: float = 1.0,
        ema_decay: float = 0.999,
        validation: ValidationConfig = ValidationConfig(),
        seed: int = 0,
        matmul_precision: Literal["highest", "high", "medium"] = "highest",
        compile_network: bool = False,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.schedule, self.optimizer_config, self.prefixes = schedule, optimizer, prefixes
        self.perceptual, self.adversarial, self.quantizer_weight = perceptual, adversarial, quantizer_weight
        self.validation, self.seed = validation, seed
        self.matmul_precision, self.compile_network = matmul_precision, compile_network
        self.tokenizer = build_tokenizer(tokenizer, init_from, statistics)
        merge_patches(self.tokenizer, retokenize)
        self._fits_statistics = statistics == "data" and init_from is None
        train_only(self.tokenizer, train_parts)
        self._encoder_learns = learns(self.tokenizer, except_for="decoder")
        self.ema = Ema(self.tokenizer, ema_decay)
        self.adversary = Adversary(adversarial) if adversarial.weight > 0 else None
        lpips = PerceptualLoss(perceptual) if perceptual.weight > 0 else None
        self._objective = Objective(pixel, lpips, self.adversary)
        self._encode, self._decode = self.tokenizer.encode, self.tokenizer.decode
        self.clock = Clock(SOURCES[schedule.clock])
        self.batches = 0
        self.seconds = 0.0
        self.lr = 0.0
        self._metrics: PrefixMetrics | None = None

    @property
    def averaged(self) -> Tokenizer:
        """The tokenizer with averaged weights: what is validated and exported."""
        return self.ema.average

    @property
    def progress(self) -> float:
        """Share of the run that is done."""
        return self.schedule.progress(self.seconds, self.batches)

    def configure_optimizers(self) -> list[Optimizer]:
        """Return the tokenizer's optimizers, and one more where there is a discriminator."""
        optimizers = build_optimizers([self.tokenizer], self.optimizer_config)
        if self.adversary is not None:
            optimizers.append(
                torch.optim.AdamW(self.adversary.parameters(), lr=self.adversarial.lr, betas=(0.5, 0.9))
            )
        return optimizers

    def on_fit_start(self) -> None:
        """Choose the precision, fit statistics where asked for, compile where asked for."""
        self._precision_before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self.matmul_precision)
        if self._fits_statistics and self.batches == 0:
            self._fit_statistics()
        if self.compile_network:
            self._encode = torch.compile(self.tokenizer.encode)
            self._decode = torch.compile(self.tokenizer.decode)

    def _fit_statistics(self) -> None:
        if self.tokenizer.linear_path is None:
            raise ValueError(
                "statistics=data needs a tokenizer with linear_path; set model.statistics to none"
            )
        pictures = self.trainer.datamodule.statistics_batches()  # type: ignore[attr-defined]
        self.tokenizer.linear_path.fit(batch.to(self.device) for batch in pictures)
        self.ema.copy_from(self.tokenizer)

    def on_fit_end(self) -> None:
        """Put the process's precision back."""
        torch.set_float32_matmul_precision(self._precision_before)

    def on_train_start(self) -> None:
        """Start the clock; a run that was over already ends at once."""
        self.clock.start()
        self._stop_when_done()

    def on_train_end(self) -> None:
        """Stop it."""
        self.clock.stop()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Train on pictures (B, 3, H, W) in [0, 1], and return the loss without its graph."""
        self._read_clock()
        generator = generator_for("cpu", "step", self.seed, self.global_rank, self.batches)
        rate = self.schedule.rate(self.progress)
        self.lr = self.optimizer_config.lr * rate
        terms, decoded = self._losses(batch, generator)
        own, adversarys = self._split_optimizers()
        self._step(own, terms.total, self.lr)
        self.ema.update(self.tokenizer)
        if self.adversary is not None and self.adversarial.trains_at(self.progress):
            self._step(adversarys, self.adversary.learn(decoded[0].image, batch), self.adversarial.lr * rate)
        self.batches += 1
        self._report(terms)
        self._stop_when_done()
        return terms.total.detach()

    def _split_optimizers(self) -> tuple[list[LightningOptimizer], list[LightningOptimizer]]:
        """The tokenizer's, and the discriminator's."""
        every = self.optimizers()
        every = every if isinstance(every, list) else [every]
        own = len(every) - (self.adversary is not None)
        return every[:own], every[own:]

    def _stop_when_done(self) -> None:
        self.trainer.should_stop = self.trainer.should_stop or self.progress >= 1

    def _read_clock(self) -> None:
        # Processes must agree on the time: rates, loss weights and the end follow from it.
        seconds = self.clock.seconds
        self.seconds = self.trainer.strategy.broadcast(seconds) if self.trainer.world_size > 1 else seconds

    def _losses(self, batch: Tensor, generator: torch.Generator) -> tuple[Terms, list[Decoded]]:
        config = self.tokenizer.config
        prefixes = draw_prefixes(len(batch), config.num_tokens, self.prefixes, generator)
        with torch.set_grad_enabled(self._encoder_learns):
            quantized = self._encode(batch)
        decoded = [Decoded(p.weight, self._decode_prefix(quantized.codes, p)) for p in prefixes]
        strengths = Strengths(
            self.perceptual.weight_at(self.progress),
            self.adversarial.weight_at(self.progress),
            self.quantizer_weight,
        )
        return self._objective(decoded, batch, quantized.loss, strengths, generator), decoded

    def _decode_prefix(self, codes: Tensor, prefix: Prefix) -> Tensor:
        lengths = None if prefix.lengths is None else prefix.lengths.to(codes.device)
        return self._decode(codes[:, : prefix.kept], lengths)

    def _step(self, optimizers: list[LightningOptimizer], loss: Tensor, rate: float) -> None:
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        parameters = [p for group in groups for p in group["params"]]
        for group in groups:
            group["lr"] = rate
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        if self.optimizer_config.clip:
            torch.nn.utils.clip_grad_norm_(parameters, self.optimizer_config.clip)
        for optimizer in optimizers:
            optimizer.step()

    def _report(self, terms: Terms) -> None:
        named = {f"train/{name}": value.detach() for name, value in terms._asdict().items()}
        self.log_dict(named | {"train/loss": terms.total.detach()})
        self.log_dict({"train/lr": self.lr, "train/minutes": self.seconds / 60})

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        net = self.validation.lpips
        if net is not None and not checkpoint_path(net).is_file():
            log.warning("no LPIPS at validation: %s is not there", checkpoint_path(net))
            net = None
        distance = None if net is None else MetricNetwork(net)
        self._metrics = PrefixMetrics(self.tokenizer.config, self.validation.counts, self.device, distance)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Judge the averaged weights on pictures (B, 3, H, W) in [0, 1]."""
        assert self._metrics is not None
        self._metrics.update(self.averaged, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the means over all processes."""
        assert self._metrics is not None
        results = self._metrics.results(lambda x: self.trainer.strategy.reduce(x, reduce_op="sum"))
        # They are over all processes already; sync_dist only spares a warning.
        self.log_dict({f"val/{name}": value for name, value in results.items()}, sync_dist=True)
        log.info("validation: %s", ", ".join(f"{name} {value:.4g}" for name, value in results.items()))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add how far the run is, and the geometry."""
        checkpoint["onedpiece"] = {
            "seconds": self.clock.seconds,
            "batches": self.batches,
            "tokenizer": self.tokenizer.config.to_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        state = checkpoint["onedpiece"]
        self.clock.set(state["seconds"])
        self.seconds, self.batches = state["seconds"], state["batches"]
