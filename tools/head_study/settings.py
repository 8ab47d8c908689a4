"""One config file for both kinds of network: what the head is trained with, its rivals on pixels are too."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from onedpiece.heads import HeadConfig
from onedpiece.training.augment import ViewConfig
from onedpiece.training.optimizer import OptimizerConfig, ScheduleConfig


@dataclass(frozen=True)
class Settings:
    """What `configs/head_*.yaml` says, but for the minutes, which the study sets.

    Attributes:
        path: the file.
        head: width, layers and attention heads.
        views: crops, flips and lights of pictures in training.
        optimizer: its numbers.
        schedule: shape of the learning rate, and minutes of this process's own.
        ema_decay: of the averaged weights.
        batch: photos a batch.
        variants: views of the photos that are trained on.
        bfloat16: whether the networks compute in it, as the config's precision has it.
    """

    path: Path
    head: HeadConfig
    views: ViewConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    ema_decay: float
    batch: int
    variants: tuple[str, ...] = ("plain", "flip")
    bfloat16: bool = True


def read_settings(path: Path, minutes: float | None = None, precision: str | None = None) -> Settings:
    """Read a config of `onedpiece train-head`; minutes and precision are its own where none are given.

    Raises:
        OSError: it cannot be opened.
        TypeError, ValueError: it has a field that is none.
    """
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    model, data = config["model"], config["data"]
    schedule = {**model["schedule"], "clock": "processor"} | ({} if minutes is None else {"minutes": minutes})
    return Settings(
        path,
        HeadConfig.from_dict({"classes": ("any",), **model["head"]}),
        ViewConfig(**model.get("views", {})),
        OptimizerConfig(**model["optimizer"]),
        ScheduleConfig(**schedule),
        model.get("ema_decay", 0.998),
        data["batch"],
        tuple(data.get("variants", ("plain", "flip"))),
        (precision or str(config["trainer"].get("precision", "32-true"))).startswith("bf16"),
    )
