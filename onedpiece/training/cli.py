"""`onedpiece train …`: LightningCLI over the tokenizer's training module."""

import logging
from importlib.util import find_spec
from typing import Any

from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from onedpiece.training.callbacks import Checkpoints, ExportWeights, Pictures, ProgressLine
from onedpiece.training.module import TokenizerModule

TRAINER_DEFAULTS = {
    "default_root_dir": "runs/tokenizer",
    "max_epochs": -1,  # the schedule ends the run, and data never do
    "check_val_every_n_epoch": None,
    "enable_checkpointing": False,  # Checkpoints does it, by time
    "enable_progress_bar": False,  # ProgressLine does it, in plain text
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


if __name__ == "__main__":
    main()
