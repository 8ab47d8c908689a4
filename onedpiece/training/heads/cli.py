"""`onedpiece train-head …`: LightningCLI over the heads' training."""

from pathlib import Path

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser

from onedpiece.training.cli import TRAINER_DEFAULTS, TrainingCLI, log_plainly
from onedpiece.training.codes import CodeData
from onedpiece.training.heads.module import HeadModule


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


def main(args: list[str] | None = None) -> None:
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


if __name__ == "__main__":
    main()
