"""`onedpiece train` and its siblings: everything after the verb goes to LightningCLI."""

import sys
import traceback
from collections.abc import Callable

import typer

from onedpiece.errors import OnedpieceError

PASS_EVERYTHING_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Even --help is LightningCLI's."""

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended."""


def train(context: typer.Context) -> None:
    """Train a tokenizer with LightningCLI.

    Example: onedpiece train fit --config configs/smoke.yaml
    """
    from onedpiece.training.cli import main

    hand_over(main, context.args)


def train_sharp(context: typer.Context) -> None:
    """Train a tokenizer's sharp network with LightningCLI.

    Example: onedpiece train-sharp fit --config configs/sharp.yaml
    """
    from onedpiece.training.cli import sharp_main

    hand_over(sharp_main, context.args)


def train_head(context: typer.Context) -> None:
    """Train a head that reads codes with LightningCLI.

    Example: onedpiece train-head fit --config configs/head_classify_imagenette.yaml
    """
    from onedpiece.training.cli import head_main

    hand_over(head_main, context.args)


def train_classifier(context: typer.Context) -> None:
    """Train a classifier with a token reducer in it, with LightningCLI.

    Example: onedpiece train-classifier fit --config configs/retokenize_mctf.yaml
    """
    from onedpiece.training.cli import classifier_main

    hand_over(classifier_main, context.args)


def hand_over(main: Callable[[list[str]], None], args: list[str]) -> None:
    """Run a command line of LightningCLI; a crash keeps its traceback, what has one line to say does not.

    Raises:
        ValueError, OSError, OnedpieceError: for the caller to say in one line.
        SystemExit: 130 after Ctrl-C, 143 after SIGTERM, or LightningCLI's own.
    """
    try:
        main(args)
    except (ValueError, OSError, OnedpieceError):
        raise
    except SystemExit as end:
        # Lightning leaves with 1 where Ctrl-C came before the first step, or twice.
        if isinstance(end.__context__, KeyboardInterrupt):
            raise SystemExit(INTERRUPTED) from None
        raise
    except Exception as error:
        if type(error).__name__ == "MisconfigurationException":  # Lightning's, of options that do not fit
            raise ValueError(str(error)) from error
        # Hours into a run, where it broke is worth more than a tidy terminal.
        traceback.print_exc(file=sys.stderr)
        raise typer.Exit(1) from error
