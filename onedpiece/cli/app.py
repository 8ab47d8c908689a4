"""The verbs, one line each."""

import sys
from typing import Annotated

import typer

from onedpiece import __version__
from onedpiece.cli.compare import compare
from onedpiece.cli.decode import decode
from onedpiece.cli.encode import encode
from onedpiece.cli.evaluate import evaluate
from onedpiece.cli.info import info, models, truncate
from onedpiece.cli.predict import predict
from onedpiece.cli.train import PASS_EVERYTHING_ON, train, train_head, train_sharp

# Plain help, and no typer tracebacks: rich would double the time that --help takes.
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

app.command()(encode)
app.command()(decode)
app.command()(truncate)
app.command()(info)
app.command()(compare)
app.add_typer(evaluate, name="evaluate")
app.command()(predict)
app.command()(models)
app.command(context_settings=PASS_EVERYTHING_ON, add_help_option=False)(train)
app.command("train-sharp", context_settings=PASS_EVERYTHING_ON, add_help_option=False)(train_sharp)
app.command("train-head", context_settings=PASS_EVERYTHING_ON, add_help_option=False)(train_head)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"onedpiece {__version__}\n")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _onedpiece(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A picture in a few hundred bytes, or a few dozen tokens: any prefix of a file is a picture."""
    if context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")
