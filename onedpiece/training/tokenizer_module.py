"""The Lightning module that trains a tokenizer, fresh or from given weights."""

import logging
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer

from onedpiece.metrics.lpips import MetricNetwork, Net, checkpoint_path
from onedpiece.retokenize import apply
from onedpiece.tokenizer import PRESETS, Tokenizer, TokenizerConfig, preset
from onedpiece.training.data.sampling import generator_for
from onedpiece.training.ema import Ema
from onedpiece.training.losses.adversarial import AdversarialConfig, Adversary
from onedpiece.training.losses.perceptual import PerceptualConfig, PerceptualLoss
from onedpiece.training.losses.reconstruction import Decoded, Objective, PixelConfig, Strengths, Terms
from onedpiece.training.metrics import PrefixMetrics
from onedpiece.training.optimizer import OptimizerConfig, build_optimizers, learns, train_only
from onedpiece.training.schedule import SOURCES, Clock, ScheduleConfig
from onedpiece.training.tail_drop import Prefix, PrefixConfig, draw_prefixes
from onedpiece.weights import load_tokenizer, untrained

Statistics = Literal["none", "bundled", "data"]
"""Where the linear path's statistics come from: nowhere, the package, or the training pictures."""


log = logging.getLogger(__name__)


def as_config(tokenizer: str | TokenizerConfig) -> TokenizerConfig:
    """Return the config that a preset's name stands for, or the config itself."""
    return preset(tokenizer) if isinstance(tokenizer, str) else tokenizer


def build_tokenizer(
    tokenizer: str | TokenizerConfig, init_from: str | None = None, statistics: Statistics = "none"
) -> Tokenizer:
    """Return a tokenizer to train, in training mode.

    Args:
        tokenizer: a preset's name, or a geometry.
        init_from: folder of weights to start from (see `onedpiece.weights.save`); None: fresh ones.
        statistics: see `Statistics`; does not matter with `init_from`, whose weights hold theirs.

    Raises:
        ValueError: the weights have another geometry, or no statistics are bundled for this one.
    """
    config = as_config(tokenizer)
    if init_from is not None:
        return _from_weights(config, init_from)
    if statistics == "bundled":
        return untrained(_preset_name(config)).train()
    return Tokenizer(config)


def _from_weights(config: TokenizerConfig, folder: str) -> Tokenizer:
    loaded = load_tokenizer(folder)
    if loaded.config != config:
        raise ValueError(
            f"init_from {folder} holds another geometry than model.tokenizer asks for; make that equal to "
            f"{loaded.config}"
        )
    return loaded.train()


def _preset_name(config: TokenizerConfig) -> str:
    for name, known in PRESETS.items():
        if known == config:
            return name
    raise ValueError(
        "statistics 'bundled' is for presets; with another geometry set model.statistics to data"
    )


@dataclass(frozen=True)
class FrontEndConfig:
    """What merges patches inside the encoder while it learns; nothing by default.

    Raises:
        ValueError: on construction, `keep_ratio` is out of range.
    """

    name: str | None = (
        None  # mctf, imagepiece, tome, evit: without weights of their own, which no codec loads
    )
    keep_ratio: float = 0.5  # about the part of patches behind the encoder's last layer

    def __post_init__(self) -> None:
        if not 0 < self.keep_ratio <= 1:
            raise ValueError(
                f"retokenize.keep_ratio is {self.keep_ratio}; give the part in (0, 1] of patches to leave"
            )
        if self.name == "slimming":
            raise ValueError("retokenize.name is slimming, whose weights no codec would load; choose another")


def merge_patches(tokenizer: Tokenizer, config: FrontEndConfig) -> None:
    """Put the front end into a tokenizer's encoder, if there is one.

    Raises:
        ValueError: the name is unknown.
    """
    if config.name is not None:
        apply(tokenizer, config.name, keep_ratio=config.keep_ratio)


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
        retokenize: FrontEndConfig = FrontEndConfig(),
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
