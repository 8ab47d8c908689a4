"""`python -m onedpiece.training.retokenize_cli …`: LightningCLI over the classifier's fine-tuning."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger

from onedpiece.training.retokenize_data import LabelledData
from onedpiece.training.retokenize_module import RetokenizeModule

_TRAINER_DEFAULTS = {
    "default_root_dir": "runs/retokenize",
    "max_epochs": -1,  # the schedule ends the run, and data never do
    "check_val_every_n_epoch": None,
    "enable_checkpointing": False,
    "num_sanity_val_steps": 0,
}


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


def main(args: list[str] | None = None) -> None:
    """Run a subcommand of LightningCLI, as in `fit --config configs/retokenize_mctf.yaml`.

    Args:
        args: the words behind the command; None takes them from `sys.argv`.
    """
    RetokenizeCLI(
        RetokenizeModule,
        LabelledData,
        trainer_defaults=_TRAINER_DEFAULTS,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        args=args,
    )


if __name__ == "__main__":
    main()
