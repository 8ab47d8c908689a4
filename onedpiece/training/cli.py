"""LightningCLI over the training modules: tokenizers, their sharp network, heads and classifiers.

`onedpiece train …`, `train-sharp …`, `train-head …` and `train-classifier …`.
"""

import logging
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn
from zipfile import is_zipfile

from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from onedpiece.training.base_module import TrainingModule, take_over
from onedpiece.training.callbacks import (
    BEST,
    LAST,
    Checkpoints,
    ExportWeights,
    ReconstructionGrid,
    StopOnSignal,
    TextProgress,
)

EXPORT_NAMES = ("weights", "head.safetensors", "weights.safetensors")
"""What runs leave in their folders: the modules' `export_name`."""

TRAINER_DEFAULTS = {
    "default_root_dir": "runs/tokenizer",
    "max_epochs": -1,  # the schedule ends the run, and data never do
    "check_val_every_n_epoch": None,
    "enable_checkpointing": False,  # Checkpoints does it, by time
    "enable_progress_bar": False,  # TextProgress does it, in plain text
    "num_sanity_val_steps": 0,
}


class OneLineParser(LightningArgumentParser):
    """LightningCLI's parser, which says what is wrong in one line instead of behind all of its options."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Leave with status 2 and the reason on standard error; raise where jsonargparse asks for that."""
        if self.exit_on_error:
            asked = getattr(ex, "subcommand_parser", None) or self
            self.exit(2, f"onedpiece: {reason(message)}; see {asked.prog.replace(' [options]', '')} --help\n")
        super().error(message, ex)


def reason(message: str) -> str:
    """Return in one line what matters of what jsonargparse says, which lists every type that did not fit."""
    key = re.match(r'Parser key "(.+)":', message)
    tried = re.findall(r"^ *- (.+(?:\n {6,}.+)*)", message, re.MULTILINE)
    said = [each for each in tried if not each.startswith("Expected a ")]
    given = re.search(r"^ *Given value: (.+)", message, re.MULTILINE)
    if said:
        text = said[0]
    elif tried and given:
        types = [
            each.removeprefix("Expected a ").removeprefix("<class '").removesuffix("'>") for each in tried
        ]
        text = f"expected {' or '.join(types)}, found {given[1]}"
    else:
        return " ".join(message.split())
    return " ".join((f"{key[1]}: {text}" if key else text).split())


class TrainingCLI(LightningCLI):
    """LightningCLI with this package's callbacks as sections of their own, and loggers in the run's folder.

    A run's folder (`trainer.default_root_dir`) holds `checkpoints/`, what was learned (`weights/`,
    `head.safetensors` or `weights.safetensors`), and for each start `log/version_N/` with `config.yaml` and
    `metrics.csv`. A folder that holds another run's results is refused: resume with `--ckpt_path last`, name
    another, or say `--overwrite`.
    """

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Offer what the modules have: `fit` and `validate`."""
        offered = LightningCLI.subcommands()
        return {name: offered[name] for name in ("fit", "validate")}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the sections `export`, `checkpoints` and `progress`, and the option `overwrite`."""
        parser.add_lightning_class_args(ExportWeights, "export")
        parser.add_lightning_class_args(Checkpoints, "checkpoints")
        parser.add_lightning_class_args(TextProgress, "progress")
        parser.add_argument("--overwrite", action="store_true", help="Replace another run's results.")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse `args`, find the checkpoint to go on from, and refuse what would lose a run.

        Unlike the base class, without a warning about `sys.argv` beside `args`.

        Raises:
            ValueError: the file is no checkpoint, or the folder holds another run's results.
            FileNotFoundError: there is no such checkpoint.
        """
        self.config = parser.parse_args(args)  # type: ignore[arg-type]
        config = self.config[self.config.subcommand]
        folder = Path(config.trainer.default_root_dir)
        config.ckpt_path = find_checkpoint(
            config.ckpt_path, config.checkpoints.folder or folder / "checkpoints"
        )
        if self.config.subcommand == "fit" and not (
            config.ckpt_path or config.overwrite or config.trainer.fast_dev_run
        ):
            refuse_results(folder, config.checkpoints.folder, config.export.folder)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return the trainer, with loggers where the config names none."""
        config = self._get(self.config_init, "trainer")
        if config.get("logger") in (None, True):
            kwargs["logger"] = default_loggers(config["default_root_dir"])
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        """Let the module do what Lightning does not by hand, and listen to signals behind all callbacks."""
        assert isinstance(self.model, TrainingModule)
        take_over(self.trainer, self.model)
        check_size(self.model, self.datamodule)
        self.trainer.callbacks.append(StopOnSignal())  # type: ignore[attr-defined]


class TokenizerCLI(TrainingCLI):
    """`TrainingCLI` for tokenizers, which draws what they reconstruct."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the section `pictures`."""
        super().add_arguments_to_parser(parser)
        parser.add_lightning_class_args(ReconstructionGrid, "pictures")


class HeadCLI(TrainingCLI):
    """`TrainingCLI` for heads, whose file says how good they are.

    Where only a folder of the user's own says what the head is for, the folder's task is the head's.
    """

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse `args`, and take the task from the data where neither they nor a config file name one."""
        super().parse_arguments(parser, args)
        config = self.config[self.config.subcommand]
        if config.data.path is None:
            return
        from onedpiece.training.codes.own import task_of

        said = parser.parse_args(args, defaults=False)[self.config.subcommand]  # type: ignore[arg-type]
        if said.get("model.head.task") is None:
            config.model.head.task = task_of(config.data.path)

    def before_fit(self) -> None:
        """Refuse data of another task before they are tokenized.

        Raises:
            ValueError: the data are labelled for another task than the head's.
        """
        super().before_fit()
        from onedpiece.training.codes import CodeData

        assert isinstance(self.datamodule, CodeData)
        asked, found = self.model.head_config.task, self.datamodule.task
        if found not in (None, asked):
            raise ValueError(
                f"{self.datamodule.names} is labelled for {found}, and model.head.task is {asked}; "
                "leave the task out, or take other data"
            )

    def after_fit(self) -> None:
        """Measure the averaged head, where the last step was not validated on anyway, and write it anew."""
        from onedpiece.training.head_module import HeadModule

        assert isinstance(self.model, HeadModule)
        if self.trainer.fast_dev_run or self.model.scored_at == self.model.steps:  # type: ignore[attr-defined]
            return
        self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ExportWeights):
                callback.write(self.trainer, self.model)


def find_checkpoint(given: str | None, folder: str | Path) -> str | None:
    """Return the path of the checkpoint that `--ckpt_path` asks for; None where it asks for none.

    Args:
        given: a path, or `last` or `best` of the run's folder.
        folder: where the run keeps its checkpoints.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no checkpoint, or was cut short.
    """
    if given is None:
        return None
    path = Path(folder) / {"last": LAST, "best": BEST}[given] if given in ("last", "best") else Path(given)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no checkpoint {path} to go on from; leave --ckpt_path out to start anew"
        )
    if not is_zipfile(path):
        raise ValueError(f"{path} is no checkpoint, or was cut short")
    return str(path)


def refuse_results(folder: Path, checkpoints: str | None, export: str | None) -> None:
    """Raise ValueError if another run has left results where this one would write.

    Args:
        folder: of the run.
        checkpoints: where checkpoints go, if not there.
        export: where weights go, if not there.
    """
    weights = [Path(export)] if export else [folder / name for name in EXPORT_NAMES]
    for path in (Path(checkpoints or folder / "checkpoints") / LAST, *weights):
        if path.exists():
            raise ValueError(
                f"{path} is another run's result; go on from it with --ckpt_path last, set "
                "trainer.default_root_dir to another folder, or say --overwrite"
            )


def check_size(module: TrainingModule, data: LightningDataModule | None) -> None:
    """Raise ValueError if a tokenizer or a classifier takes pictures of another size than the data give."""
    config = getattr(getattr(module, "tokenizer", None), "config", None)
    wanted, size = getattr(module, "input_size", None), getattr(data, "size", None)
    if size is None:
        return
    if config is not None and size != config.image_size:
        raise ValueError(
            f"data.init_args.size is {size}, model.tokenizer.image_size {config.image_size}; make them equal"
        )
    if wanted is not None and size != wanted:
        raise ValueError(
            f"data.size is {size}, and model.classifier takes {wanted} pixels; make them equal, by "
            "model.classifier.options.img_size"
        )


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


def _run(
    cli: type[TrainingCLI],
    module: type[TrainingModule],
    data: type[LightningDataModule],
    verb: str,
    config: str,
    args: list[str] | None,
    folder: str = "runs/tokenizer",
) -> None:
    log_plainly()
    program = f"onedpiece {verb}"
    example = f"Example: {program} fit --config configs/{config}"
    try:
        cli(
            module,
            data,
            subclass_mode_data=data is LightningDataModule,
            trainer_defaults=TRAINER_DEFAULTS | {"default_root_dir": folder},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_class=OneLineParser,
            parser_kwargs={"prog": program, "description": example},
            args=args,
        )
    except ValueError as error:
        if type(error) is ValueError and "Does not validate against" in str(error):  # by jsonargparse
            raise ValueError(reason(str(error))) from error
        raise


def main(args: list[str] | None = None) -> None:
    """Train a tokenizer, as in `fit --config configs/smoke.yaml`.

    Args:
        args: the words after `onedpiece train`; None takes them from `sys.argv`.
    """
    from onedpiece.training.tokenizer_module import TokenizerModule

    _run(TokenizerCLI, TokenizerModule, LightningDataModule, "train", "smoke.yaml", args)


def sharp_main(args: list[str] | None = None) -> None:
    """Train the sharp network behind a tokenizer, as in `fit --config configs/sharp.yaml`.

    Args:
        args: the words after `onedpiece train-sharp`; None takes them from `sys.argv`.
    """
    from onedpiece.training.sharp_module import SharpModule

    _run(
        TokenizerCLI,
        SharpModule,
        LightningDataModule,
        "train-sharp",
        "sharp.yaml",
        args,
        "runs/sharp",
    )


def head_main(args: list[str] | None = None) -> None:
    """Train a head that reads codes, as in `fit --config configs/head_classify_imagenette.yaml`.

    Args:
        args: the words after `onedpiece train-head`; None takes them from `sys.argv`.
    """
    from onedpiece.training.codes import CodeData
    from onedpiece.training.head_module import HeadModule

    _run(
        HeadCLI,
        HeadModule,
        CodeData,
        "train-head",
        "head_classify_imagenette.yaml",
        args,
        "runs/head",
    )


def classifier_main(args: list[str] | None = None) -> None:
    """Train a classifier with a re-tokenizer in it, as in `fit --config configs/retokenize_mctf.yaml`.

    Args:
        args: the words after `onedpiece train-classifier`; None takes them from `sys.argv`.
    """
    from onedpiece.training.classifier_module import ClassifierModule
    from onedpiece.training.data.labelled import LabelledData

    _run(
        TrainingCLI,
        ClassifierModule,
        LabelledData,
        "train-classifier",
        "retokenize_mctf.yaml",
        args,
        "runs/retokenize",
    )
