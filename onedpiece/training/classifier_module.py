"""The Lightning module that fine-tunes a classifier with a re-tokenizer in it."""

from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from lightning.pytorch import LightningModule
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from onedpiece.retokenize import apply
from onedpiece.retokenize.matching import Removal
from onedpiece.retokenize.stem import with_coherence_stem
from onedpiece.training.classifier_objectives import (
    ConsistencyObjective,
    LabelObjective,
    RecalibrationObjective,
)
from onedpiece.training.data.modules import Labelled
from onedpiece.training.data.sampling import generator_for
from onedpiece.training.optimizer import OptimizerConfig, build_optimizer
from onedpiece.training.schedule import Clock, ScheduleConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ClassifierConfig:
    """The network, without its reducer."""

    name: str = "deit_tiny_patch16_224"  # any timm VisionTransformer
    num_classes: int = 10  # Imagenette's
    weights: str | None = None  # safetensors to start from; None: fresh
    stem: bool = False  # ImagePiece's overlapping stem instead of the patch projection
    options: dict[str, Any] = field(default_factory=dict)  # more for timm.create_model, as drop_path_rate


@dataclass(frozen=True)
class ReducerConfig:
    """The reducer, by its options or by the part of the tokens that it is to leave.

    Raises:
        ValueError: on construction, both `keep_ratio` and `options` are given.
    """

    name: str | None = None  # None: the full network
    options: dict[str, Any] = field(default_factory=dict)
    keep_ratio: float | None = None

    def __post_init__(self) -> None:
        if self.keep_ratio is not None and self.options:
            raise ValueError(
                "reducer.keep_ratio chooses the options itself; set it to null or leave options out"
            )


def normalized(x: Tensor) -> Tensor:
    """Bring (B, 3, H, W) from [0, 1] to what DeiT was made for."""
    mean, std = (x.new_tensor(each).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
    return (x - mean) / std


def build_classifier(config: ClassifierConfig, reducer: ReducerConfig | None = None) -> nn.Module:
    """Return a timm model with its stem, its reducer and its starting weights.

    Raises:
        ValueError: the weights are another network's.
    """
    import timm

    vit: nn.Module = timm.create_model(config.name, num_classes=config.num_classes, **config.options)
    if config.stem:
        with_coherence_stem(vit)
    if reducer is not None and reducer.name is not None:
        _put_reducer(vit, reducer.name, reducer)
    if config.weights is not None:
        _load_weights(vit, config.weights)
    return vit


def _put_reducer(vit: nn.Module, name: str, config: ReducerConfig) -> None:
    if config.keep_ratio is not None:
        apply(vit, name, keep_ratio=config.keep_ratio)
    else:
        apply(vit, name, **config.options)


def _load_weights(vit: nn.Module, path: str) -> None:
    missing, unexpected = vit.load_state_dict(load_file(path), strict=False)
    # A reducer with weights of its own may start fresh on a network that was trained without it.
    wrong = [name for name in missing if "reducer_weights" not in name] + unexpected
    if wrong:
        raise ValueError(
            f"{path} does not fit this classifier: {', '.join(wrong[:5])} differ; set its weights"
        )


class RetokenizeModule(LightningModule):
    """Trains a classifier through its reducer, and measures accuracy and speed with the reducer on.

    Args:
        schedule: length of the run and shape of the learning rate.
        classifier: the network.
        reducer: what reduces its tokens.
        objective: `labels`; `consistency`, MCTF's two branches; `recalibration`, SiT's, which needs the
            reducer `slimming` and the weights of a full twin.
        teacher_weights: the twin's, as safetensors.
        optimizer: AdamW's numbers; `clip` is the trainer's `gradient_clip_val` here.
        seed: of the random branch.
    """

    def __init__(
        self,
        schedule: ScheduleConfig,
        classifier: ClassifierConfig = ClassifierConfig(),
        reducer: ReducerConfig = ReducerConfig(),
        objective: Literal["labels", "consistency", "recalibration"] = "labels",
        teacher_weights: str | None = None,
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.schedule, self.optimizer_config, self.seed = schedule, optimizer, seed
        self.vit = build_classifier(classifier, reducer)
        self.objective = _build_objective(objective, self.vit, classifier, reducer, teacher_weights)
        self.clock = Clock()
        self._right = self._seen = self._timed = 0
        self._seconds = 0.0

    @property
    def progress(self) -> float:
        """Share of the run that is done."""
        return self.schedule.progress(self.clock.seconds, self.global_step)

    def configure_optimizers(self) -> Optimizer:
        """Return AdamW; its rate is set before each step."""
        return build_optimizer([self.vit, self.objective], self.optimizer_config)

    def on_train_start(self) -> None:
        """Start the clock."""
        self.clock.start()

    def on_train_batch_start(self, batch: Labelled, batch_idx: int) -> None:
        """Set the rate."""
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.optimizer_config.lr * self.schedule.rate(self.progress)

    def training_step(self, batch: Labelled, batch_idx: int) -> Tensor:
        """Train on pictures in [0, 1] and their labels."""
        generator = generator_for("cpu", "branch", self.seed, self.global_step)
        step = self.objective(self.vit, normalized(batch.x), batch.target, generator)
        accuracy = (step.logits.argmax(dim=-1) == batch.target).float().mean()
        self.log_dict({"train/loss": step.loss.detach(), "train/accuracy": accuracy})
        loss: Tensor = step.loss
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Labelled, batch_idx: int) -> None:
        """Stop at the end of the schedule."""
        self.trainer.should_stop = self.trainer.should_stop or self.progress >= 1

    def on_validation_epoch_start(self) -> None:
        """Count from zero."""
        self._right = self._seen = self._timed = 0
        self._seconds = 0.0

    def validation_step(self, batch: Labelled, batch_idx: int) -> None:
        """Count right answers, and the time of every batch but the first."""
        start = perf_counter()
        right = self.vit(normalized(batch.x)).argmax(dim=-1) == batch.target
        self._right += int(right.sum())
        self._seen += len(right)
        if batch_idx:
            self._seconds += perf_counter() - start
            self._timed += len(right)

    def on_validation_epoch_end(self) -> None:
        """Report accuracy, in [0, 1], and images per second of the forward pass."""
        self.log("val/accuracy", self._right / max(self._seen, 1), prog_bar=True)
        if self._timed:
            self.log("val/images_per_second", self._timed / self._seconds)

    def on_train_end(self) -> None:
        """Write the weights to `weights.safetensors` in the run's folder."""
        self.clock.stop()
        if self.trainer.is_global_zero:
            folder = Path(self.trainer.default_root_dir)
            folder.mkdir(parents=True, exist_ok=True)
            state = {name: value.detach().cpu().contiguous() for name, value in self.vit.state_dict().items()}
            save_file(state, folder / "weights.safetensors")


def _weak_r(r: Removal) -> int:
    """The most that MCTF's weak branch removes a layer: 7 beside the published 16, and in proportion."""
    most = r if isinstance(r, int | float) else max(r)
    return 7 if most < 1 else round(7 / 16 * most)


def _build_objective(
    name: str, vit: Any, classifier: ClassifierConfig, reducer: ReducerConfig, teacher_weights: str | None
) -> nn.Module:
    if name == "labels":
        return LabelObjective()
    if name == "consistency":
        if reducer.name != "mctf":
            raise ValueError(f"objective consistency needs reducer mctf, not {reducer.name}")
        return ConsistencyObjective(_weak_r(vit.blocks.reducer.r))
    if reducer.name != "slimming" or teacher_weights is None:
        raise ValueError("objective recalibration needs the reducer slimming and teacher_weights")
    twin = build_classifier(ClassifierConfig(**{**vars(classifier), "weights": teacher_weights}))
    patches = int(vit.patch_embed.num_patches)
    kept: list[int] = []
    for layer in range(len(vit.blocks)):
        stage = vit.blocks.reducer.stages
        kept.append(stage[str(layer)].keep if str(layer) in stage else [patches, *kept][-1])
    return RecalibrationObjective(twin, tuple(kept), tuple(range(len(kept))), patches)
