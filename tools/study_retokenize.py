"""Train one small classifier with every re-tokenizer in it, and print accuracy beside speed.

    python -m tools.study_retokenize train          # one core with AMX: 45 minutes; goes on where it stopped
    python -m tools.study_retokenize speed          # 3 minutes of one core
    python -m tools.study_retokenize table          # what has been measured so far, in Markdown

DeiT-Tiny on Imagenette at 128 px (2,898 pictures to train on, 500 to test), three seeds. For each seed a base
is trained from scratch, first at 96 px, then at 128. Every reducer, at two thirds of the tokens in the mean
over the blocks, is put into it as it is (training-free), then fine-tuned; MCTF with its two branches, SiT
with recalibration; the base itself is trained on for as long. ImagePiece with its stem starts from scratch
and sees the same pictures as often, and so does the full network with that stem. Accuracy is in float32.
"""

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor, nn

from onedpiece.retokenize import trace
from onedpiece.retokenize.stack import SLICE
from onedpiece.training.augment import AugmentConfig
from onedpiece.training.callbacks import ExportWeights
from onedpiece.training.classifier_module import (
    ClassifierConfig,
    ClassifierModule,
    RetokenizerConfig,
    build_classifier,
    normalized,
)
from onedpiece.training.data.labelled import LabelledData
from onedpiece.training.optimizer import OptimizerConfig, ScheduleConfig
from tools.bench_retokenize import count_gflops, time_once
from tools.markdown import replace_part
from tools.shared import add_shared, needed
from tools.study_retokenize_table import append, conditions, read, table

Precision = Literal["bf16-mixed", "32-true"]
SIDE, SMALL_SIDE = 128, 96
OPTIONS = {"img_size": SIDE, "dynamic_img_size": True}  # one position table for both sides
BATCH = 32
PICTURES = 2898
SEEDS = (0, 1, 2)

# Settings that leave the same share of the tokens, 0.66 in the mean over the blocks (64 patches, 12 blocks).
NONE = RetokenizerConfig()
MCTF = RetokenizerConfig("mctf", {"r": 4})
TOME = RetokenizerConfig("tome", {"r": 4, "layers": tuple(range(1, 12))})
EVIT = RetokenizerConfig("evit", {"keep_rate": 0.7})
IMAGEPIECE = RetokenizerConfig("imagepiece", {"keep_rate": 0.77})
SIT = RetokenizerConfig("slimming", {"keep_rate": 0.72, "layers": (3, 6, 9)})
# The paper's windows of 3×3 at 0.8 leave 0.92 of so coarse a grid.
MUSTDROP = RetokenizerConfig("mustdrop", {"window": 2, "threshold": 0.62})


@dataclass(frozen=True)
class Entry:
    """One line of the table."""

    label: str
    reducer: RetokenizerConfig = NONE
    objective: Literal["labels", "consistency", "recalibration"] = "labels"
    stem: bool = False  # ImagePiece's; such a network cannot start from the base
    lr: float = 1e-4  # of fine-tuning


BASE = Entry("base")
ENTRIES = (
    BASE,
    Entry("MCTF", MCTF, "consistency"),
    Entry("ToMe", TOME),
    Entry("EViT", EVIT),
    Entry("ImagePiece, no stem", IMAGEPIECE),
    Entry("MustDrop", MUSTDROP),
    Entry("SiT", SIT, "recalibration", lr=3e-4),
    Entry("ImagePiece", IMAGEPIECE, stem=True),
    Entry("base with stem", stem=True),
)
LABELS = [entry.label for entry in ENTRIES]
REFERENCES = {entry.label: "base with stem" if entry.stem else "base" for entry in ENTRIES}
"""Whose accuracy each one's is set beside: the full network of the same kind."""


@dataclass(frozen=True)
class Stage:
    """One fit: how often the training set is seen, at what size and rate."""

    name: str
    side: int
    passes: int
    lr: float

    @property
    def steps(self) -> int:
        """Batches in all."""
        return max(1, self.passes * PICTURES // BATCH)


SCRATCH = (Stage("small", SMALL_SIDE, 6, 5e-4), Stage("full", SIDE, 2, 2.5e-4))
TUNING_PASSES = 1


class Score(NamedTuple):
    """What a network is worth.

    Attributes:
        top1: in [0, 1].
        kept: patch tokens behind a block, as a share of all, in the mean over the blocks.
    """

    top1: float
    kept: float


class Study:
    """Where the pictures are, and where runs and results go."""

    def __init__(self, shared: Path | None, out: Path, precision: Precision = "bf16-mixed") -> None:
        self.shared, self.out, self.precision = shared, out, precision
        self._data: dict[int, LabelledData] = {}

    def data(self, side: int, seed: int = 0) -> LabelledData:
        """Return the pictures at a size, shuffled by a seed."""
        if side not in self._data:
            train = needed(self.shared) / "data/train"
            val = needed(self.shared) / "data/downstream/imagenette_val"
            self._data[side] = LabelledData(
                str(train),
                str(train / "index.tsv"),
                str(val),
                size=side,
                batch=BATCH,
                cache=str(self.out / "cache"),
                workers=0,
                augment=AugmentConfig(min_scale=0.5),
            )
            self._data[side].setup("fit")
        self._data[side].seed, self._data[side].drawn = seed, 0
        return self._data[side]

    def base(self, seed: int) -> Path:
        """Return the weights of the full network, trained from scratch."""
        return self.from_scratch(BASE, seed)

    def from_scratch(self, entry: Entry, seed: int) -> Path:
        """Train an entry through all stages, and return its weights."""
        weights = None
        for stage in SCRATCH:
            weights = self.fit(entry, seed, stage, weights)
        assert weights is not None
        return weights

    def tuned(self, entry: Entry, seed: int) -> Path:
        """Fine-tune an entry from its start, and return its weights."""
        teacher = self.base(seed) if entry.objective == "recalibration" else None
        start = self.from_scratch(entry, seed) if entry.stem else self.base(seed)
        return self.fit(entry, seed, Stage("tuned", SIDE, TUNING_PASSES, entry.lr), start, teacher)

    def fit(
        self, entry: Entry, seed: int, stage: Stage, start: Path | None, teacher: Path | None = None
    ) -> Path:
        """Train once, unless that was done before, and return where the weights are."""
        folder = self.out / f"seed-{seed}" / entry.label.replace(", ", "-").replace(" ", "-") / stage.name
        weights = folder / "weights.safetensors"
        if weights.is_file():
            return weights
        seed_everything(seed, verbose=False)
        module = ClassifierModule(
            ScheduleConfig(steps=stage.steps, warmup=0.1, min_lr_ratio=0.01),
            ClassifierConfig(weights=None if start is None else str(start), stem=entry.stem, options=OPTIONS),
            entry.reducer,
            entry.objective,
            teacher_weights=str(teacher) if teacher else None,
            optimizer=OptimizerConfig(lr=stage.lr, betas=(0.9, 0.99), weight_decay=0.05),
            seed=seed,
        )
        begun = time.perf_counter()
        _trainer(folder, self.precision).fit(module, datamodule=self.data(stage.side, seed))
        seconds = time.perf_counter() - begun
        print(f"seed {seed}, {entry.label}, {stage.name}: {stage.steps} steps in {seconds:.0f} s", flush=True)
        return weights

    def score(self, entry: Entry, weights: Path) -> Score:
        """Test an entry with these weights."""
        vit = network(entry, weights)
        right = seen = 0
        with torch.inference_mode():
            for batch in self.data(SIDE).val_dataloader():
                right += int((vit(_input(batch.x)).argmax(dim=-1) == batch.target).sum())
                seen += len(batch.target)
            return Score(right / seen, mean_kept(vit, self.sample(BATCH)))

    def sample(self, count: int) -> Tensor:
        """Return so many test pictures from all classes, as a network takes them."""
        pixels = torch.cat([batch.x for batch in self.data(SIDE).val_dataloader()])
        return _input(pixels[torch.linspace(0, len(pixels) - 1, count).long()])


def _trainer(folder: Path, precision: Precision) -> Trainer:
    return Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        precision=precision,
        max_epochs=-1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ExportWeights(minutes=0)],
    )


def _input(pixels: Tensor) -> Tensor:
    return normalized(pixels.float() / 255)


def network(entry: Entry, weights: Path) -> nn.Module:
    """Build an entry's network for evaluation."""
    options = {"img_size": SIDE}
    config = ClassifierConfig(weights=str(weights), stem=entry.stem, options=options)
    return build_classifier(config, entry.reducer).eval()


def mean_kept(vit: nn.Module, x: Tensor) -> float:
    """Patch tokens behind a block as a share of all, in the mean over blocks and pictures."""
    if not hasattr(vit, "remove"):
        return 1.0
    states = trace(vit, x).states
    counts = [
        state.x.shape[1] if state.size is None else float((state.size > 0).sum()) / len(state.x)
        for state in states
    ]
    return statistics.fmean(count - 1 for count in counts) / (states[0].origin - 1)


def train(study: Study, seeds: Sequence[int], labels: Sequence[str]) -> None:
    """Train and test what is not in the results yet."""
    done = {(row["label"], int(row["seed"])) for row in read(study.out / "accuracy.csv")}
    for seed in seeds:
        for entry in ENTRIES:
            if entry.label not in labels or (entry.label, seed) in done:
                continue
            # A network with fresh weights of its own is worth nothing before training.
            fresh = entry.stem or entry.objective == "recalibration"
            free = None if fresh else study.score(entry, study.base(seed)).top1
            top1, kept = study.score(entry, study.tuned(entry, seed))
            row = {"label": entry.label, "seed": seed, "kept": kept, "free": free, "top1": top1}
            append(study.out / "accuracy.csv", row)
            print(row, flush=True)


def speed(study: Study, labels: Sequence[str], rounds: int, batch: int) -> None:
    """Time entries in turns by the process's clock, as the first seed left them, and keep the medians."""
    x = study.sample(batch)
    with torch.inference_mode():
        entries = [entry for entry in ENTRIES if entry.label in labels]
        models = {entry.label: network(entry, study.tuned(entry, SEEDS[0])) for entry in entries}
        # What MustDrop merges depends on the picture.
        flops = {
            label: statistics.fmean(count_gflops(m, p) for p in torch.split(x[:: max(1, batch // 8)], 1))
            for label, m in models.items()
        }
        runs: dict[str, Any] = dict(models)
        runs["base, slices"] = lambda pictures: torch.cat(
            [models["base"](p) for p in torch.split(pictures, SLICE)]
        )
        seconds: dict[str, list[float]] = {label: [] for label in runs}
        for number in range(rounds + 1):
            for label, run in runs.items():
                once = time_once(run, x, time.process_time)
                if number:
                    seconds[label].append(once)
    (study.out / "speed.csv").unlink(missing_ok=True)
    for label, taken in seconds.items():
        ratio = statistics.median(b / t for b, t in zip(seconds["base"], taken, strict=True))
        rate = batch / statistics.median(taken)
        row = {"label": label, "gflops": flops.get(label, flops["base"]), "rate": rate, "ratio": ratio}
        append(study.out / "speed.csv", row | {"batch": batch, "threads": torch.get_num_threads()})


def main() -> None:
    """Run one part of the study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["train", "speed", "table"])
    add_shared(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/study_retokenize"))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument(
        "--labels", nargs="+", choices=LABELS, default=LABELS, help="rows to train or to time"
    )
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="bf16-mixed",
        help="of training; 32-true is the fast one without AVX512-BF16 and AMX",
    )
    parser.add_argument("--rounds", type=int, default=7, help="timed passes of each network")
    parser.add_argument("--batch", type=int, default=64, help="pictures a timed pass")
    parser.add_argument("--into", type=Path, help="put the table between this file's marks as well")
    parser.add_argument("--mark", default="study", help="the name of those marks")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    study = Study(options.shared, options.out, options.precision)
    if options.part == "train":
        train(study, options.seeds, options.labels)
    elif options.part == "speed":
        torch.set_num_threads(1)
        speed(study, options.labels, options.rounds, options.batch)
    text = f"{table(study.out, REFERENCES)}\n\n{conditions(study.out)}"
    print(text)
    if options.into:
        replace_part(options.into, options.mark, text)


if __name__ == "__main__":
    main()
