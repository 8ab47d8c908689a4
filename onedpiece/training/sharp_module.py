"""The Lightning module that trains the sharp network behind a tokenizer that stands."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from onedpiece.metrics.perceptual import EfficientNetLite, FeatureDistance, FeatureNetwork, Lpips, SqueezeNet
from onedpiece.tokenizer import TokenizerConfig
from onedpiece.tokenizer.pixel_heads import LOW_PASS, SharpNetwork
from onedpiece.tokenizer.tail_drop import KeepLaw, sample_lengths
from onedpiece.training.base_module import Monitor
from onedpiece.training.losses.adversarial import discriminator_hinge
from onedpiece.training.losses.discriminators import FeatureDiscriminator, PixelDiscriminator
from onedpiece.training.metrics import ValidationConfig
from onedpiece.training.optimizer import OptimizerConfig, ScheduleConfig, ramp
from onedpiece.training.tokenizer_module import TokenizerModule
from onedpiece.weights.checkpoint import read_config

EFFICIENTNET = "efficientnet_lite0.safetensors"


@dataclass(frozen=True)
class SharpLossConfig:
    """What the sharp network is trained on.

    Attributes:
        l1: weight of the mean absolute error, which keeps edges where they are.
        lpips: weight of LPIPS-squeeze at random scales; Alex stays out, to report by.
        features: weight of the EfficientNet distance: the brake against texture that only LPIPS likes.
        pixels: gradient of the pixel discriminator, as a share of that of all above.
        squeeze: the same of the discriminator on SqueezeNet's features.
        efficientnet: the same of the one on EfficientNet's.
        grow: the three shares grow by this factor to the end of the run.
        wait: steps of the discriminators alone.
        ramp: steps over which their gradients grow behind that.

    Raises:
        ValueError: on construction, a number out of range.
    """

    l1: float = 1.5
    lpips: float = 0.1
    features: float = 0.15
    pixels: float = 0.1
    squeeze: float = 0.1
    efficientnet: float = 0.1
    grow: float = 2.0
    wait: int = 40
    ramp: int = 100

    def __post_init__(self) -> None:
        if min(self.l1, self.lpips, self.features, self.pixels, self.squeeze, self.efficientnet) < 0:
            raise ValueError("losses: no weight may be negative")
        if self.l1 + self.lpips + self.features == 0:
            raise ValueError("losses: one of l1, lpips and features must be above 0")

    @property
    def adversarial(self) -> bool:
        """Return whether there are discriminators to train."""
        return max(self.pixels, self.squeeze, self.efficientnet) > 0


@dataclass(frozen=True)
class SharpOptimizerConfig:
    """Adam's numbers for the network and for the discriminators.

    Attributes:
        lr: the peak; the schedule scales it.
        betas: of the network.
        discriminator_lr: constant all along.
        discriminator_betas: of the discriminators, which forget sooner.
        clip: largest norm of the network's gradient.
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.99)
    discriminator_lr: float = 4e-4
    discriminator_betas: tuple[float, float] = (0.0, 0.99)
    clip: float = 0.5


class Crops(NamedTuple):
    """Squares cut from the same places.

    Attributes:
        faithful: (B, 3, S, S) in [0, 1], of the faithful pictures.
        target: (B, 3, S, S) in [0, 1], of the originals.
        tokens: (B,) int64, that were decoded.
        features: of `faithful`, stage by stage, from each network that a discriminator stands on.
    """

    faithful: Tensor
    target: Tensor
    tokens: Tensor
    features: Sequence[Sequence[Tensor]] = ()


class SharpModule(TokenizerModule):
    """Trains `tokenizer.sharp` on what the tokenizer decodes; everything else stays as it is.

    Args:
        schedule: length of the run and shape of the learning rate.
        init_from: folder of weights: the tokenizer, with or without a sharp network.
        blocks: of a fresh sharp network, where the folder has none (x4plus has 23); None: the folder's own.
        sharp_from: safetensors file of an RRDBNet to start the sharp network from: ours, or Real-ESRGAN's
            x4plus as `tools/fetch_priors.py` writes it; None: what `init_from` has, or a fresh one.
        priors: folder with `efficientnet_lite0.safetensors`, as `tools/fetch_priors.py` writes it.
        crop: side of the squares that are trained on, in pixels; a multiple of 32.
        distribution: of the number of tokens.
        losses: what is minimised.
        optimizer: Adam's numbers.
        ema_decay: limit of the average's decay.
        validation: what validation measures, on sharp pictures.
        seed: of lengths, crops and scales.
        matmul_precision: of float32 products.

    Raises:
        ValueError: neither the folder nor `blocks` says how large the network is, both do and disagree, the
            file holds another one, or the crops do not fit.
        MissingWeightsError: those of SqueezeNet or EfficientNet are not there.

    Source: `SharpLossConfig`'s terms are ESRGAN's (arXiv 1809.00219) with projected discriminators
    (arXiv 2111.01007) whose gradients are high-passed and scaled to the reconstruction's.
    """

    sharpness: ClassVar[float] = 1.0

    def __init__(
        self,
        schedule: ScheduleConfig,
        init_from: str,
        blocks: int | None = None,
        sharp_from: str | None = None,
        priors: str = "priors",
        crop: int = 128,
        distribution: KeepLaw = "mixture",
        losses: SharpLossConfig = SharpLossConfig(),
        optimizer: SharpOptimizerConfig = SharpOptimizerConfig(),
        ema_decay: float = 0.999,
        validation: ValidationConfig = ValidationConfig(),  # noqa: B008
        seed: int = 0,
        matmul_precision: Literal["highest", "high", "medium"] = "highest",
    ) -> None:
        super().__init__(
            schedule,
            sharp_config(init_from, blocks),
            init_from,
            train_parts=("sharp",),
            optimizer=OptimizerConfig(lr=optimizer.lr, clip=optimizer.clip),
            ema_decay=ema_decay,
            validation=validation,
            seed=seed,
            matmul_precision=matmul_precision,
        )
        size = self.tokenizer.config.image_size
        if not 32 <= crop <= size or crop % 32:
            raise ValueError(f"crop is {crop}; use a multiple of 32 up to the picture's {size}")
        if sharp_from is not None:
            load_rrdbnet(self.network, load_file(sharp_from))
            self.ema.copy_from(self.tokenizer)
        self.crop, self.distribution = crop, distribution
        self.losses, self.sharp_optimizer = losses, optimizer
        self.automatic_optimization = False
        self._lpips = Lpips("squeeze") if losses.lpips else None
        self._trunks: list[FeatureNetwork] = [SqueezeNet(), EfficientNetLite(Path(priors) / EFFICIENTNET)]
        self._features = FeatureDistance(self._trunks[1])
        self.pixel_discriminator = PixelDiscriminator()
        self.feature_discriminators = nn.ModuleList(FeatureDiscriminator(t.channels) for t in self._trunks)
        self.train_by_own_loss("pixel_discriminator", "feature_discriminators")

    @property
    def network(self) -> SharpNetwork:
        """What learns."""
        assert self.tokenizer.sharp is not None
        return self.tokenizer.sharp

    @property
    def monitor(self) -> Monitor | None:
        """LPIPS where validation measures it: PSNR does not want what this network draws."""
        faithful = super().monitor
        if faithful is None or self.validation.lpips is None:
            return None
        return Monitor(faithful.name.replace("psnr", "lpips"), larger_is_better=False)

    def configure_optimizers(self) -> list[Optimizer]:
        """Return the network's Adam and the discriminators'."""
        config = self.sharp_optimizer
        discriminators = [
            *self.pixel_discriminator.parameters(),
            *self.feature_discriminators.parameters(),
        ]
        return [
            Adam(self.network.parameters(), config.lr, config.betas),
            Adam(discriminators, config.discriminator_lr, config.discriminator_betas),
        ]

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Train on pictures (B, 3, H, W) in [0, 1], and return the reconstruction loss without its graph."""
        generator = self.begin_step()
        own, discriminators = self.manual_optimizers()
        crops = self._crops(batch, generator)
        drawn = self.tokenizer.sharpen(crops.faithful, crops.tokens)
        discriminator_loss = drawn.new_zeros(())
        if self.losses.adversarial:
            discriminator_loss = self._train_discriminators(discriminators, drawn.detach(), crops)
            self.log("train/discriminator", discriminator_loss.detach())
        image = drawn.detach().requires_grad_()
        loss = self._reconstruction(image, crops, generator)
        self.guard(loss + discriminator_loss)
        (gradient,) = torch.autograd.grad(loss, image)
        if self._learns:
            gradient = gradient + self._adversarial_gradient(image, crops, gradient)
            self.step_by_hand([own], drawn, self.lr, gradient)
        if self.ends_step:
            self.after_step()
        self.end_batch(loss)
        return loss.detach()

    @property
    def _learns(self) -> bool:
        """Whether the network itself takes steps: not while the discriminators have their head start."""
        return not self.losses.adversarial or self.batches // self.accumulated >= self.losses.wait

    def update_average(self) -> None:
        """Average the weights, once the network learns."""
        if self._learns:
            super().update_average()

    @torch.no_grad()
    def _crops(self, batch: Tensor, generator: torch.Generator) -> Crops:
        """Decode prefixes of random length, and cut squares at random multiples of `LOW_PASS`."""
        lengths = sample_lengths(len(batch), self.tokenizer.config.num_tokens, self.distribution, generator)
        tokens = lengths.to(batch.device)
        codes = self.tokenizer.encode(batch).codes
        faithful = self.tokenizer.decode(codes, tokens).float().clamp(0, 1)
        steps = (batch.shape[-1] - self.crop) // LOW_PASS + 1
        corners = (torch.randint(0, steps, (len(batch), 2), generator=generator) * LOW_PASS).tolist()
        cut = self._cut(faithful, corners)
        features = [trunk(cut) for trunk in self._trunks] if self.losses.adversarial else []
        return Crops(cut, self._cut(batch, corners), tokens, features)

    def _cut(self, x: Tensor, corners: Sequence[Sequence[int]]) -> Tensor:
        size = self.crop
        return torch.stack(
            [
                row[:, top : top + size, left : left + size]
                for row, (top, left) in zip(x, corners, strict=True)
            ]
        )

    def _reconstruction(self, image: Tensor, crops: Crops, generator: torch.Generator) -> Tensor:
        config = self.losses
        loss = config.l1 * (image - crops.target).abs().mean()
        seen, wanted = self._scaled(image, crops.target, generator)
        if self._lpips is not None:
            loss = loss + config.lpips * self._lpips(wanted, seen).mean()
        if config.features:
            loss = loss + config.features * self._features(wanted, seen).mean()
        return loss

    def _scaled(self, image: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return both under one random scale (about .75 … 1.35, in steps of 16 pixels), shift and flip."""
        scale, *rest = torch.rand(4, generator=generator).tolist()
        top, left, mirrored = int(8 * rest[0]), int(8 * rest[1]), rest[2] < 0.5
        # Few sizes, so that kernels can be tuned for them.
        size = max(32, round((self.crop - 8) * (0.75 + 0.6 * scale) / 16) * 16)
        both = torch.cat([image, target])[..., top : top + self.crop - 8, left : left + self.crop - 8]
        both = F.interpolate(both, size, mode="bilinear", align_corners=False, antialias=True)
        both = both.flip(3) if mirrored else both
        seen, wanted = both.chunk(2)
        return seen, wanted.detach()

    def _logits(self, which: int, picture: Tensor, crops: Crops) -> list[Tensor]:
        """Return one discriminator's logits of pictures (m·B, 3, S, S), m candidates for each crop.

        Args:
            which: 0 sees pixels, 1 SqueezeNet's features, 2 EfficientNet's.
            picture: in [0, 1].
            crops: what the candidates stand for.
        """
        times = len(picture) // len(crops.faithful)
        if which == 0:
            return [self.pixel_discriminator(picture, crops.faithful.repeat(times, 1, 1, 1))]
        faithful = [stage.repeat(times, 1, 1, 1) for stage in crops.features[which - 1]]
        return list(self.feature_discriminators[which - 1](self._trunks[which - 1](picture), faithful))

    @property
    def _shares(self) -> tuple[float, float, float]:
        config = self.losses
        weight = ramp(self.steps, config.wait, config.ramp) * config.grow ** min(1.0, self.progress)
        return weight * config.pixels, weight * config.squeeze, weight * config.efficientnet

    def _adversarial_gradient(self, image: Tensor, crops: Crops, gradient: Tensor) -> Tensor:
        """Return the discriminators' gradients without their low frequencies, each scaled to its share."""
        total = torch.zeros_like(gradient)
        for which, share in enumerate(self._shares):
            if not share:
                continue
            logits = self._logits(which, image, crops)
            loss = -torch.stack([each.float().mean() for each in logits]).mean()
            (own,) = torch.autograd.grad(loss, image)
            own = own - F.interpolate(F.avg_pool2d(own, LOW_PASS), scale_factor=LOW_PASS)
            total += own * (share * gradient.norm() / own.norm().clamp_min(1e-12))
        return total

    def _train_discriminators(self, optimizer: LightningOptimizer, drawn: Tensor, crops: Crops) -> Tensor:
        """Take a step of the discriminators, at a constant rate and unclipped, and return their loss."""
        both = torch.cat([crops.target, drawn])
        losses = []
        for which in range(3):
            halves = [each.float().chunk(2) for each in self._logits(which, both, crops)]
            losses.append(torch.stack([discriminator_hinge(real, fake) for real, fake in halves]).mean())
        loss = torch.stack(losses).sum()
        rate, name = self.sharp_optimizer.discriminator_lr, "train/discriminator_grad_norm"
        self.step_by_hand([optimizer], loss, rate, name=name, synced=False, clip=False)
        return loss


def sharp_config(folder: str, blocks: int | None) -> TokenizerConfig:
    """Return a folder's geometry with a sharp network: its own, or one of so many blocks.

    Raises:
        ValueError: there is no network and no number, or another number.
        WeightsError: it is no model folder.
    """
    config = TokenizerConfig.from_dict(read_config(folder)["tokenizer"])
    if blocks is None and not config.sharp_blocks:
        raise ValueError(f"{folder} has no sharp network; set model.blocks (Real-ESRGAN's x4plus has 23)")
    if blocks is not None and (blocks < 1 or config.sharp_blocks not in (0, blocks)):
        raise ValueError(
            f"model.blocks is {blocks} and {folder} has {config.sharp_blocks}; use at least 1, and null "
            "where the folder has a network"
        )
    return replace(config, sharp_blocks=blocks or config.sharp_blocks)


def load_rrdbnet(network: SharpNetwork, state: dict[str, Tensor]) -> None:
    """Load an RRDBNet's tensors; a first convolution of 3 channels is widened by zeros.

    Raises:
        ValueError: tensors are missing, unknown or of another shape.
    """
    first, wanted = state.get("conv_first.weight"), network.conv_first.weight
    if first is not None and first.shape == (len(wanted), 3, *wanted.shape[2:]):
        widened = torch.zeros_like(wanted)
        widened[:, :3] = first
        state = state | {"conv_first.weight": widened}
    state = {"gain": network.gain} | state
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"this is no RRDBNet of these sizes: {reason}") from error
