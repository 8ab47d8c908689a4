"""LightningCLI over the training modules: the tokenizer's, the heads' and the classifier's.

`onedpiece train …`, `onedpiece train-head …` and `python -m onedpiece.training.cli classifier …`.
"""

import logging
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from onedpiece.training.callbacks import Checkpoints, ExportWeights, Pictures, ProgressLine
from onedpiece.training.classifier_module import RetokenizeModule
from onedpiece.training.codes import CodeData
from onedpiece.training.data.modules import LabelledData
from onedpiece.training.head_module import HeadModule
from onedpiece.training.tokenizer_module import TokenizerModule

TRAINER_DEFAULTS = {
    "default_root_dir": "runs/tokenizer",
    "max_epochs": -1,  # the schedule ends the run, and data never do
    "check_val_every_n_epoch": None,
    "enable_checkpointing": False,  # Checkpoints does it, by time
    "enable_progress_bar": False,  # ProgressLine does it, in plain text
    "num_sanity_val_steps": 0,
}

CLASSIFIER_DEFAULTS = {
    "default_root_dir": "runs/retokenize",
    "max_epochs": -1,  # the schedule ends the run, and data never do
    "check_val_every_n_epoch": None,
    "enable_checkpointing": False,
    "num_sanity_val_steps": 0,
}


class TrainingCLI(LightningCLI):
    """LightningCLI with this package's callbacks as sections of their own, and loggers in the run's folder.

    A run's folder (`trainer.default_root_dir`) holds `checkpoints/`, `weights/`, `pictures/`, and for each
    start `log/version_N/` with `config.yaml` and `metrics.csv`.
    """

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the sections `export`, `checkpoints`, `pictures` and `progress`."""
        parser.add_lightning_class_args(ExportWeights, "export")
        parser.add_lightning_class_args(Checkpoints, "checkpoints")
        parser.add_lightning_class_args(Pictures, "pictures")
        parser.add_lightning_class_args(ProgressLine, "progress")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse `args`; unlike the base class, without a warning about `sys.argv` beside them."""
        self.config = parser.parse_args(args)  # type: ignore[arg-type]

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return the trainer, with loggers where the config names none."""
        config = self._get(self.config_init, "trainer")
        if config.get("logger") in (None, True):
            kwargs["logger"] = default_loggers(config["default_root_dir"])
        return super().instantiate_trainer(**kwargs)


def default_loggers(folder: str) -> list[Logger]:
    """Return a CSV logger for `folder`, and a TensorBoard one where tensorboard is installed."""
    csv = CSVLogger(folder, name="log", flush_logs_every_n_steps=10)
    if find_spec("tensorboard") is None:
        return [csv]
    return [csv, TensorBoardLogger(folder, name="tensorboard", version=csv.version)]


def log_plainly() -> None:
    """Let this package say on standard error what happens, a line each; others only warn."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("onedpiece").setLevel(logging.INFO)


def main(args: list[str] | None = None) -> None:
    """Run a subcommand of LightningCLI, as in `fit --config …`.

    Args:
        args: the words after `onedpiece train`; None takes them from `sys.argv`.
    """
    log_plainly()
    TrainingCLI(
        TokenizerModule,
        LightningDataModule,
        subclass_mode_data=True,
        trainer_defaults=TRAINER_DEFAULTS,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        parser_kwargs={"prog": "onedpiece train"},
        args=args,
    )


class HeadCLI(TrainingCLI):
    """`TrainingCLI` for heads: checkpoints by steps, and in the end `head.safetensors` in the run's folder.

    Resume with `--ckpt_path RUN/log/version_N/checkpoints/last.ckpt`.
    """

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the section `checkpoints`."""
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoints")
        parser.set_defaults({"checkpoints.save_last": True, "checkpoints.every_n_train_steps": 200})

    def after_fit(self) -> None:
        """Judge the averaged head, where the last step was not validated on anyway, and write it."""
        if not self.trainer.is_global_zero:
            return
        assert isinstance(self.model, HeadModule)
        if self.model.scored_at != self.model.global_step:
            self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
        self.model.export(Path(self.trainer.default_root_dir) / "head.safetensors")


def head_main(args: list[str] | None = None) -> None:
    """Run a subcommand of LightningCLI, as in `fit --config configs/head_classify_imagenette.yaml`.

    Args:
        args: the words after `onedpiece train-head`; None takes them from `sys.argv`.
    """
    log_plainly()
    HeadCLI(
        HeadModule,
        CodeData,
        trainer_defaults=TRAINER_DEFAULTS | {"default_root_dir": "runs/head", "enable_checkpointing": True},
        seed_everything_default=0,
        auto_configure_optimizers=False,
        parser_kwargs={"prog": "onedpiece train-head"},
        args=args,
    )


class RetokenizeCLI(LightningCLI):
    """LightningCLI that logs to `metrics.csv` in the run's folder."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse `args`; unlike the base class, without a warning about `sys.argv` beside them."""
        self.config = parser.parse_args(args)  # type: ignore[arg-type]

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return the trainer, with a CSV logger where the config names none."""
        config = self._get(self.config_init, "trainer")
        if config.get("logger") in (None, True):
            kwargs["logger"] = CSVLogger(config["default_root_dir"], name="log", flush_logs_every_n_steps=10)
        return super().instantiate_trainer(**kwargs)


def classifier_main(args: list[str] | None = None) -> None:
    """Run a subcommand of LightningCLI, as in `fit --config configs/retokenize_mctf.yaml`.

    Args:
        args: the words behind the command; None takes them from `sys.argv`.
    """
    RetokenizeCLI(
        RetokenizeModule,
        LabelledData,
        trainer_defaults=CLASSIFIER_DEFAULTS,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        parser_kwargs={"prog": "python -m onedpiece.training.cli classifier"},
        args=args,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["classifier"]:
        classifier_main(sys.argv[2:])
    else:
        main()
