"""The Lightning module that fine-tunes a classifier with a re-tokenizer in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from onedpiece._files import atomic_path
from onedpiece.errors import MissingExtraError
from onedpiece.retokenize import apply
from onedpiece.retokenize.matching import Removal
from onedpiece.retokenize.stem import with_coherence_stem
from onedpiece.training.base_module import Monitor, TrainingModule
from onedpiece.training.classifier_augment import MixConfig, Mixing
from onedpiece.training.classifier_objectives import (
    ConsistencyObjective,
    LabelObjective,
    RecalibrationObjective,
)
from onedpiece.training.data.sampling import Labelled
from onedpiece.training.optimizer import OptimizerConfig, ScheduleConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ClassifierConfig:
    """The network, without its reducer.

    Attributes:
        name: any timm VisionTransformer.
        num_classes: 10 are Imagenette's.
        weights: safetensors to start from; None: fresh.
        stem: ImagePiece's overlapping stem instead of the patch projection.
        options: more for timm.create_model, as drop_path_rate.
    """

    name: str = "deit_tiny_patch16_224"
    num_classes: int = 10
    weights: str | None = None
    stem: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RetokenizerConfig:
    """The reducer, by its options or by the ratio of tokens that it is to keep.

    Attributes:
        name: of `onedpiece.retokenize`; None: the full network.
        options: more for the reducer, by name.
        keep_ratio: part of the tokens that is left; None: as `options` say.

    Raises:
        ValueError: on construction, both `keep_ratio` and `options` are given.
    """

    name: str | None = None
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


def build_classifier(config: ClassifierConfig, reducer: RetokenizerConfig | None = None) -> nn.Module:
    """Return a timm model with its stem, its reducer and its starting weights.

    Raises:
        ValueError: the weights are another network's.
        MissingExtraError: timm is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("classifiers need an extra: pip install 'onedpiece[retokenize]'") from error

    vit: nn.Module = timm.create_model(config.name, num_classes=config.num_classes, **config.options)
    if config.stem:
        with_coherence_stem(vit)
    if reducer is not None and reducer.name is not None:
        _put_reducer(vit, reducer.name, reducer)
    if config.weights is not None:
        _load_weights(vit, config.weights)
    return vit


def _put_reducer(vit: nn.Module, name: str, config: RetokenizerConfig) -> None:
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


class ClassifierModule(TrainingModule):
    """Trains a classifier through its reducer, and measures accuracy and speed with the reducer on.

    Args:
        schedule: length of the run and shape of the learning rate.
        classifier: the network.
        reducer: what reduces its tokens.
        objective: `labels`; `consistency`, MCTF's two branches; `recalibration`, SiT's, which needs the
            reducer `slimming` and the weights of a full twin.
        teacher_weights: the twin's, as safetensors.
        optimizer: which optimizer, and its numbers.
        mix: mixup and CutMix of training batches; needs an even batch.
        seed: of the random branch and of the mixtures.

    Raises:
        ValueError: on construction, parts that do not fit together; at setup, the data have other classes.
    """

    export_name: ClassVar[str] = "weights.safetensors"

    def __init__(
        self,
        schedule: ScheduleConfig,
        classifier: ClassifierConfig = ClassifierConfig(),
        reducer: RetokenizerConfig = RetokenizerConfig(),
        objective: Literal["labels", "consistency", "recalibration"] = "labels",
        teacher_weights: str | None = None,
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008
        mix: MixConfig = MixConfig(),  # noqa: B008
        seed: int = 0,
    ) -> None:
        super().__init__(schedule, optimizer, seed)
        self._mix = Mixing(mix, classifier.num_classes) if mix.mixes else None
        self.vit = build_classifier(classifier, reducer)
        self.objective = _build_objective(objective, self.vit, classifier, reducer, teacher_weights)
        self._right = self._seen = self._timed = 0
        self._timed_seconds = 0.0

    def setup(self, stage: str) -> None:
        """Compare the data's classes with the network's."""
        super().setup(stage)
        classes = getattr(self.trainer.datamodule, "classes", None)  # type: ignore[attr-defined]
        if classes is not None and len(classes) != (count := self.vit.num_classes):
            raise ValueError(
                f"the data have {len(classes)} classes, and model.classifier.num_classes is {count}; "
                "make them equal"
            )

    @property
    def input_size(self) -> int | None:
        """Side of the pictures that the network takes, in pixels; None: any."""
        embed = getattr(self.vit, "patch_embed", None)
        side = getattr(embed, "img_size", None) if getattr(embed, "strict_img_size", True) else None
        return side[0] if isinstance(side, tuple) else side

    @property
    def monitor(self) -> Monitor:
        """Accuracy."""
        return Monitor("val/accuracy", larger_is_better=True)

    def learners(self) -> Sequence[nn.Module]:
        """Return the network, and what its objective learns beside it."""
        return [self.vit, self.objective]

    def batch_size(self, batch: Labelled) -> int:
        """Return how many pictures a batch has."""
        return len(batch.target)

    def step_loss(self, batch: Labelled, generator: torch.Generator) -> Tensor:
        """Return the objective's loss on pictures in [0, 1] and their labels."""
        x, target = normalized(batch.x), batch.target
        if self._mix is not None:
            x, target = self._mix(x, target, generator)
        step = self.objective(self.vit, x, target, generator)
        self.log("train/accuracy", (step.logits.argmax(dim=-1) == batch.target).float().mean())
        loss: Tensor = step.loss
        return loss

    def on_validation_epoch_start(self) -> None:
        """Count from zero."""
        self._right = self._seen = self._timed = 0
        self._timed_seconds = 0.0

    def validation_step(self, batch: Labelled, batch_idx: int) -> None:
        """Count right answers, and the time of every batch but the first."""
        start = perf_counter()
        right = self.vit(normalized(batch.x)).argmax(dim=-1) == batch.target
        self._right += int(right.sum())
        self._seen += len(right)
        if batch_idx:
            self._timed_seconds += perf_counter() - start
            self._timed += len(right)

    def on_validation_epoch_end(self) -> None:
        """Report accuracy, in [0, 1], and images per second of the forward pass."""
        self.log("val/accuracy", self._right / max(self._seen, 1), prog_bar=True)
        if self._timed:
            self.log("val/images_per_second", self._timed / self._timed_seconds)

    def export(self, path: Path) -> Path:
        """Write the network's weights as safetensors."""
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {name: value.detach().cpu().contiguous() for name, value in self.vit.state_dict().items()}
        with atomic_path(path) as partial:
            save_file(state, partial)
        return path


def _weak_r(r: Removal) -> int:
    """The most that MCTF's weak branch removes a layer: 7 beside the published 16, and in proportion."""
    most = r if isinstance(r, int | float) else max(r)
    return 7 if most < 1 else round(7 / 16 * most)


def _build_objective(
    name: str, vit: Any, classifier: ClassifierConfig, reducer: RetokenizerConfig, teacher_weights: str | None
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
    patches, stages = int(vit.patch_embed.num_patches), vit.blocks.reducer.stages
    depth = len(vit.blocks)
    kept = [patches]
    for layer in range(depth):
        kept.append(stages[str(layer)].keep if str(layer) in stages else kept[-1])
    return RecalibrationObjective(twin, tuple(kept[1:]), tuple(range(depth)), patches)
