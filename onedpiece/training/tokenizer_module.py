"""The Lightning module that trains a tokenizer, fresh or from given weights."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from onedpiece.metrics.perceptual import Lpips
from onedpiece.retokenize import apply
from onedpiece.tokenizer import PRESETS, Tokenizer, TokenizerConfig, preset
from onedpiece.tokenizer.quantizer import CosineVQ
from onedpiece.training.base_module import Monitor, TrainingModule
from onedpiece.training.losses.adversarial import AdversarialConfig, Adversary
from onedpiece.training.losses.perceptual import PerceptualConfig, PerceptualLoss
from onedpiece.training.losses.proxy import ProxyCodes, ProxyConfig, ProxyTerms
from onedpiece.training.losses.reconstruction import (
    Decoded,
    LossTerms,
    LossWeights,
    PixelConfig,
    TokenizerLoss,
)
from onedpiece.training.metrics import PrefixMetrics, ValidationConfig, counts_within
from onedpiece.training.optimizer import Ema, OptimizerConfig, ScheduleConfig, learns, train_only
from onedpiece.training.tail_drop import Prefix, TailDropConfig, draw_prefixes
from onedpiece.weights import save, untrained
from onedpiece.weights.checkpoint import find_tokenizer

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
        init_from: weights to start from, as `onedpiece.load` takes their name: a folder, or one of the hub's;
            None: fresh ones. A sharp network that the geometry has and they have not is fresh.
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


def _from_weights(config: TokenizerConfig, name: str) -> Tokenizer:
    loaded = find_tokenizer(name).tokenizer
    if not loaded.config.sharp_blocks and loaded.config == replace(config, sharp_blocks=0):
        return _with_sharp_network(loaded, config)
    if loaded.config != config:
        raise ValueError(
            f"init_from {name} holds another geometry than model.tokenizer asks for: "
            f"{_differing(loaded.config, config)}"
        )
    return loaded.train()


def _differing(there: TokenizerConfig, here: TokenizerConfig) -> str:
    """Return the fields that two geometries do not share, as in `width 64 there, 128 here`."""
    found, asked = asdict(there), asdict(here)
    return "; ".join(
        f"{name} {found[name]} there, {asked[name]} here" for name in found if found[name] != asked[name]
    )


def _with_sharp_network(loaded: Tokenizer, config: TokenizerConfig) -> Tokenizer:
    tokenizer = Tokenizer(config)
    tokenizer.load_state_dict(tokenizer.state_dict() | loaded.state_dict())
    return tokenizer


def _preset_name(config: TokenizerConfig) -> str:
    for name, known in PRESETS.items():
        if known == config:
            return name
    raise ValueError(
        "statistics 'bundled' is for presets; with another geometry set model.statistics to data"
    )


@dataclass(frozen=True)
class TokenReductionConfig:
    """What merges patches inside the encoder while it learns; nothing by default.

    Attributes:
        name: mctf, imagepiece, tome or evit; None: none.
        keep_ratio: about the share of patches behind the encoder's last layer.

    Raises:
        ValueError: on construction, the ratio is out of range, or the method has weights of its own.
    """

    name: str | None = None
    keep_ratio: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.keep_ratio <= 1:
            raise ValueError(
                f"token_reduction.keep_ratio is {self.keep_ratio}; give the share of patches, in (0, 1]"
            )
        if self.name == "slimming":
            raise ValueError(
                "token_reduction.name is slimming, whose weights no codec would load; choose another"
            )


def reduce_tokens(tokenizer: Tokenizer, config: TokenReductionConfig) -> None:
    """Put a token reduction into a tokenizer's encoder, if the config names one.

    Raises:
        ValueError: the name is unknown.
    """
    if config.name is not None:
        apply(tokenizer, config.name, keep_ratio=config.keep_ratio)


class TokenizerModule(TrainingModule):
    """Trains a tokenizer on prefixes of its codes.

    Optimisation is Lightning's automatic one with AdamW alone; Muon and a discriminator bring further
    optimizers and manual steps (see `TrainingModule`).

    Args:
        schedule: length of the run and shape of the learning rate.
        tokenizer: a preset's name, or a geometry with the fields of `TokenizerConfig`.
        init_from: weights to start from, a folder or a name of the hub; None: fresh ones.
        statistics: where the linear path's statistics come from.
        token_reduction: what merges patches inside the encoder.
        train_parts: children of the tokenizer that learn, as in [decoder]; empty: all.
        optimizer: which optimizer, and its numbers.
        tail_drop: which prefixes a step decodes.
        pixel: the pixel loss.
        perceptual: the perceptual loss.
        adversarial: the discriminator and its loss.
        proxy: stage 1 of the published recipe: codes to learn in place of pixels.
        quantizer_weight: of the quantizer's own loss (0 for FSQ anyway).
        ema_decay: limit of the average's decay.
        validation: what validation measures.
        seed: of prefix lengths and views.
        matmul_precision: of float32 products: `medium` takes bfloat16 units, on a CPU with AMX too.
        compile_network: compile encoder and decoder; wants tail_drop.lengths=per_sample.
    """

    sharpness: ClassVar[float] = 0.0
    """Of the pictures that validation measures and draws."""

    def __init__(
        self,
        schedule: ScheduleConfig,
        tokenizer: str | TokenizerConfig = "ti-256",
        init_from: str | None = None,
        statistics: Statistics = "none",
        token_reduction: TokenReductionConfig = TokenReductionConfig(),
        train_parts: tuple[str, ...] = (),
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008
        tail_drop: TailDropConfig = TailDropConfig(),  # noqa: B008
        pixel: PixelConfig = PixelConfig(),  # noqa: B008
        perceptual: PerceptualConfig = PerceptualConfig(),  # noqa: B008
        adversarial: AdversarialConfig = AdversarialConfig(),  # noqa: B008
        proxy: ProxyConfig = ProxyConfig(),  # noqa: B008
        quantizer_weight: float = 1.0,
        ema_decay: float = 0.999,
        validation: ValidationConfig = ValidationConfig(),  # noqa: B008
        seed: int = 0,
        matmul_precision: Literal["highest", "high", "medium"] = "highest",
        compile_network: bool = False,
    ) -> None:
        super().__init__(schedule, optimizer, seed)
        self.tail_drop, self.perceptual, self.adversarial = tail_drop, perceptual, adversarial
        self.quantizer_weight, self.validation = quantizer_weight, validation
        self.matmul_precision, self.compile_network = matmul_precision, compile_network
        self.tokenizer = build_tokenizer(tokenizer, init_from, statistics)
        reduce_tokens(self.tokenizer, token_reduction)
        self._fits_statistics = statistics == "data" and init_from is None
        train_only(self.tokenizer, train_parts)
        self._proxy = None if proxy.vqgan is None else ProxyCodes(proxy.vqgan, self.tokenizer)
        if self._proxy is not None and (adversarial.weight > 0 or perceptual.weight > 0):
            raise ValueError(
                "model.proxy learns codes, not pixels; set adversarial and perceptual weights to 0"
            )
        self._encoder_learns = learns(self.tokenizer, except_for="decoder")
        self.ema = Ema(self.tokenizer, ema_decay)
        self.adversary = Adversary(adversarial) if adversarial.weight > 0 else None
        if self.adversary is not None:
            self.automatic_optimization = False
            self.train_by_own_loss("adversary")
        lpips = PerceptualLoss(perceptual) if perceptual.weight > 0 else None
        self._loss = TokenizerLoss(pixel, lpips, self.adversary)
        self._encode, self._decode = self.tokenizer.encode, self.tokenizer.decode
        self._distance: Lpips | None = None
        self._metrics: PrefixMetrics | None = None

    @property
    def averaged(self) -> Tokenizer:
        """The tokenizer with averaged weights: what is validated and exported."""
        return self.ema.average

    @property
    def monitor(self) -> Monitor | None:
        """PSNR at the largest token count of validation."""
        counts = counts_within(self.validation.counts, self.tokenizer.config.num_tokens)
        return Monitor(f"val/psnr_{counts[-1]}", larger_is_better=True) if counts else None

    def learners(self) -> Sequence[nn.Module]:
        """Return the tokenizer."""
        return [self.tokenizer]

    def export(self, path: Path) -> Path:
        """Write the averaged tokenizer as a folder of float16 safetensors."""
        return save(self.averaged, path)

    def update_average(self) -> None:
        """Average the weights."""
        self.ema.update(self.tokenizer)

    def configure_optimizers(self) -> list[Optimizer]:
        """Return the tokenizer's optimizers, and one more where there is a discriminator."""
        optimizers = super().configure_optimizers()
        if self.adversary is not None:
            optimizers.append(AdamW(self.adversary.parameters(), lr=self.adversarial.lr, betas=(0.5, 0.9)))
        return optimizers

    def setup(self, stage: str) -> None:
        """Check the trainer, and load what validation measures by, so that what is missing is said at once.

        Raises:
            RuntimeError: the weights of `validation.lpips` are neither here nor to be downloaded.
            ValueError: see `check_trainer`.
        """
        super().setup(stage)
        if self.trainer.world_size > 1 and isinstance(self.tokenizer.quantizer, CosineVQ):
            self.tokenizer.quantizer.synchronise()
        if self.validation.lpips is not None and self._distance is None:
            self._distance = Lpips(self.validation.lpips)

    def on_fit_start(self) -> None:
        """Choose the precision, fit statistics where asked for, compile where asked for."""
        super().on_fit_start()
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
        try:
            self.tokenizer.linear_path.fit(batch.to(self.device) for batch in pictures)
        except ValueError as error:
            raise ValueError(f"{error}; give more, or set model.statistics to none") from error
        self.ema.copy_from(self.tokenizer)

    def on_fit_end(self) -> None:
        """Put the process's precision back."""
        torch.set_float32_matmul_precision(self._precision_before)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Train on pictures (B, 3, H, W) in [0, 1], and return the loss."""
        if self.adversary is None:
            return super().training_step(batch, batch_idx)
        generator = self.begin_step()
        loss, decoded = self._losses(batch, generator)
        self.guard(loss)
        *own, discriminators = self.manual_optimizers()
        self.step_by_hand(own, loss, self.lr)
        if self.adversarial.trains_at(self.progress):
            lr = self.adversarial.lr * self.schedule.lr_scale(self.progress)
            discriminator_loss = self.adversary.discriminator_loss(decoded[0].image, batch)
            self.average_over_processes(self.adversary.means)
            name = "train/discriminator_grad_norm"
            self.step_by_hand([discriminators], discriminator_loss, lr, name=name, synced=False)
            self.log("train/discriminator", discriminator_loss.detach())
        if self.ends_step:
            self.after_step()
        self.end_batch(loss)
        return loss.detach()

    def step_loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss on pictures (B, 3, H, W) in [0, 1]."""
        if self._proxy is not None:
            return self._proxy_loss(self._proxy, batch, generator)
        return self._losses(batch, generator)[0]

    def _proxy_loss(self, proxy: ProxyCodes, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Encode once, and score the codes of each drawn prefix."""
        codes = proxy.codes(batch)
        prefixes = draw_prefixes(len(batch), self.tokenizer.config.num_tokens, self.tail_drop, generator)
        quantized = self._encode(batch)
        loss = accuracy = batch.new_zeros(())
        for prefix in prefixes:
            lengths = None if prefix.lengths is None else prefix.lengths.to(codes.device)
            logits = self.tokenizer.code_logits(quantized.codes[:, : prefix.kept], lengths)
            loss = loss + prefix.weight * proxy.loss(logits, codes)
            accuracy = (logits.argmax(dim=1) == codes).float().mean()
        terms = ProxyTerms(loss, self.quantizer_weight * quantized.loss, accuracy)
        self.log_dict({f"train/{name}": value.detach() for name, value in terms._asdict().items()})
        return terms.total

    def _losses(self, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, list[Decoded]]:
        """Encode once, decode each drawn prefix, and return the loss and what was decoded."""
        config = self.tokenizer.config
        prefixes = draw_prefixes(len(batch), config.num_tokens, self.tail_drop, generator)
        with torch.set_grad_enabled(self._encoder_learns):
            quantized = self._encode(batch)
        decoded = [Decoded(p.weight, self._decode_prefix(quantized.codes, p)) for p in prefixes]
        weights = LossWeights(
            self.perceptual.weight_at(self.progress),
            self.adversarial.weight_at(self.progress),
            self.quantizer_weight,
        )
        terms: LossTerms = self._loss(decoded, batch, quantized.loss, weights, generator)
        self.log_dict({f"train/{name}": value.detach() for name, value in terms._asdict().items()})
        return terms.total, decoded

    def _decode_prefix(self, codes: Tensor, prefix: Prefix) -> Tensor:
        lengths = None if prefix.lengths is None else prefix.lengths.to(codes.device)
        return self._decode(codes[:, : prefix.kept], lengths)

    def on_validation_epoch_start(self) -> None:
        """Begin to count.

        Raises:
            ValueError: there is nothing to validate: neither training nor weights have given statistics.
        """
        if self._fits_statistics and self.batches == 0 and not self.trainer.sanity_checking:
            raise ValueError("model.statistics is data and nothing was fitted; give --ckpt_path")
        counts = self.validation.counts
        self._metrics = PrefixMetrics(
            self.tokenizer.config, counts, self.device, self._distance, self.sharpness
        )

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Measure the averaged weights on pictures (B, 3, H, W) in [0, 1]."""
        assert self._metrics is not None
        self._metrics.update(self.averaged, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the means over all processes."""
        assert self._metrics is not None
        results = self._metrics.results(lambda x: self.trainer.strategy.reduce(x, reduce_op="sum"))
        # They are over all processes already; sync_dist only spares a warning.
        self.log_dict({f"val/{name}": value for name, value in results.items()}, sync_dist=True)
        if self.trainer.is_global_zero:
            log.info("validation: %s", ", ".join(f"{name} {value:.4g}" for name, value in results.items()))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add how far the run is, and the geometry."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["onedpiece"]["tokenizer"] = self.tokenizer.config.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError: the checkpoint is another program's, or holds another geometry.
        """
        super().on_load_checkpoint(checkpoint)
        config = TokenizerConfig.from_dict(checkpoint["onedpiece"]["tokenizer"])
        if config != self.tokenizer.config:
            raise ValueError(
                f"{self.trainer.ckpt_path} holds another geometry than model.tokenizer asks for: "
                f"{_differing(config, self.tokenizer.config)}"
            )
