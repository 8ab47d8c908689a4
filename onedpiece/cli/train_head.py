"""`onedpiece train-head`: everything after it goes to LightningCLI."""

import typer

from onedpiece.cli.train import hand_over


def train_head(context: typer.Context) -> None:
    """Train a head that reads codes with LightningCLI.

    As in `onedpiece train-head fit --config configs/head_classify_imagenette.yaml`.
    """
    from onedpiece.training.heads.cli import main

    hand_over(main, context.args)
