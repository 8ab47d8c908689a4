"""`onedpiece train` and `onedpiece train-head`: everything after the verb goes to LightningCLI."""

import sys
import traceback
from collections.abc import Callable

import typer

PASS_EVERYTHING_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Even --help is LightningCLI's."""


def train(context: typer.Context) -> None:
    """Train a tokenizer with LightningCLI.

    As in `onedpiece train fit --config configs/smoke.yaml`.
    """
    from onedpiece.training.cli import main

    hand_over(main, context.args)


def hand_over(main: Callable[[list[str]], None], args: list[str]) -> None:
    """Run a command line of LightningCLI; a crash keeps its traceback."""
    try:
        main(args)
    except (ValueError, OSError):
        raise
    except Exception as error:
        # Hours into a run, where it broke is worth more than a tidy terminal.
        traceback.print_exc(file=sys.stderr)
        raise typer.Exit(1) from error


def train_head(context: typer.Context) -> None:
    """Train a head that reads codes with LightningCLI.

    As in `onedpiece train-head fit --config configs/head_classify_imagenette.yaml`.
    """
    from onedpiece.training.cli import head_main

    hand_over(head_main, context.args)
