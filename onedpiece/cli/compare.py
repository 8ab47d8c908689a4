"""`onedpiece compare`: an honest rate-distortion comparison with JPEG, WebP and the rest."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onedpiece._progress import progress_bar
from onedpiece.cli.io import DEVICE, RECURSIVE, printable, write
from onedpiece.cli.report import FAILED

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from onedpiece.codec.codec import Codec
    from onedpiece.evaluation.comparison import ComparisonConfig
    from onedpiece.evaluation.photos import PhotoSet
    from onedpiece.evaluation.results import ComparisonResult, Table
    from onedpiece.metrics.registry import Scorer

AGAINST = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CODEC",
        help="Formats, by commas: jpeg, webp, avif, jxl, jpeg2000, blurhash, thumbhash; jpeg,webp,avif by "
        "default. Others', one an option: a command, as 'cwebp -q {q} {in} -o {out}' (with ' :: ' and the "
        "decoder's where Pillow does not read its files), a Python object, as module:name, or a curve, as "
        "FILE.json in CompressAI's schema. NAME=… names it.",
    ),
]
DEFAULT_AGAINST = ("jpeg,webp,avif",)
BATCH_SIZE = Annotated[int, typer.Option(min=1, help="Photos that our network takes at once.")]


def compare(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Photos, or folders of them.")],
    against: AGAINST = None,
    budgets: Annotated[str, typer.Option("--bytes", help="Whole-file bytes, by commas.")] = "48,96,192,384",
    metrics: Annotated[
        str, typer.Option(help="Metrics, by commas: psnr, ssim, ms-ssim, lpips, lpips-squeeze.")
    ] = "psnr,ssim,ms-ssim,lpips",
    out: Annotated[Path, typer.Option(help="Folder for the report, the plot and the numbers.")] = Path(
        "compare"
    ),
    recursive: RECURSIVE = False,
    model: Annotated[str | None, typer.Option(help="Our model: a name, or a folder.")] = None,
    device: DEVICE = "cpu",
    batch_size: BATCH_SIZE = 8,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as cores by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the curves as JSON, not as tables.")] = False,
) -> None:
    """Compare our codec with classical formats at equal bytes, each at its best, on your own photos.

    Photos are scaled and cropped to the model's square, 256×256 pixels of ti-256.

    Example: onedpiece compare photos/ --against jpeg,webp --against "mine=cwebp -q {q} {in} -o {out}"
    """
    from onedpiece.evaluation.comparison import ComparisonConfig
    from onedpiece.evaluation.photos import read_photos
    from onedpiece.weights import load

    _check_folder(out)
    config = ComparisonConfig(
        specs(against or DEFAULT_AGAINST), numbers("--bytes", budgets), workers, batch_size
    )
    codec = load(model, device=device)
    scorer = _scorer(names(metrics), device)
    photos = read_photos(inputs, codec.tokenizer.config.image_size, recursive=recursive)
    complain(photos)
    result = _run(photos, codec, config, scorer)
    _write_files(result, codec, out, config)  # first: whoever reads the tables may go away
    _print_json(result) if as_json else _print_tables(result)
    if photos.unreadable:
        raise typer.Exit(FAILED)


def complain(photos: "PhotoSet") -> None:
    """Say which files are not looked at, and why."""
    for name, reason in photos.unreadable:
        typer.echo(f"onedpiece: {printable(name)}: {printable(reason)}", err=True)
    for name, reason in photos.left_out:
        typer.echo(f"onedpiece: {printable(name)}: left out: {reason}", err=True)


def names(text: str) -> list[str]:
    """Return the words of an option that takes several by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def specs(against: Sequence[str]) -> list[str]:
    """Return what `--against` names: words by commas, and commands, which may have commas in them, whole."""
    return [spec for text in against for spec in ([text] if "{in" in text else names(text))]


def numbers(option: str, text: str) -> list[int]:
    """Return the whole numbers of an option that takes several by commas.

    Raises:
        ValueError: there is none, or something else among them.
    """
    try:
        found = [int(number) for number in names(text)]
    except ValueError:
        found = []
    if not found:
        raise ValueError(f"{option} is {text!r}; give whole numbers by commas, as in 48,96,192")
    return found


def _check_folder(out: Path) -> None:
    """Refuse an output folder that cannot be one, before the work and not after."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"--out is {out}, and {there} is a file; name a folder")


def _scorer(wanted: list[str], device: str) -> "Scorer":
    from onedpiece.metrics.registry import available_scorer

    scorer, missing = available_scorer(wanted, device)
    for line in missing:
        typer.echo(f"onedpiece: {line}", err=True)
    return scorer


def _run(
    photos: "PhotoSet", codec: "Codec", config: "ComparisonConfig", scorer: "Scorer"
) -> "ComparisonResult":
    from onedpiece.evaluation.comparison import compare as run

    with progress_bar("Comparing") as progress:
        return run(photos, codec, config, scorer, progress)


def _print_tables(result: "ComparisonResult") -> None:
    from rich.console import Console

    from onedpiece.evaluation.results import delta_table, score_table

    console = Console(highlight=False)
    photos = "1 photo" if len(result.photos) == 1 else f"{len(result.photos)} photos"
    console.print(
        f"{photos} at {result.side}x{result.side} (short side resized, centre cropped); whole-file bytes; "
        "each format at its best scale and quality"
    )
    for metric in result.metrics:
        console.print(_rich(score_table(result, metric)))
    deltas = delta_table(result)
    if deltas is not None:
        console.print(_rich(deltas))


def _rich(table: "Table") -> "RichTable":
    from rich.table import Table as RichTable

    drawn = RichTable("", title=f"{table.title} ({table.note})", title_justify="left")
    for column in table.columns:
        drawn.add_column(column, justify="right")
    for row in table.rows:
        cells = [" ".join(filter(None, (cell.text, cell.detail))) for cell in row.cells]
        drawn.add_row(row.name, *cells, style="bold" if row.ours else None)
    return drawn


def _print_json(result: "ComparisonResult") -> None:
    from onedpiece.evaluation.export import curves_json

    typer.echo(curves_json(result, result.codecs))


def _write_files(result: "ComparisonResult", codec: "Codec", out: Path, config: "ComparisonConfig") -> None:
    from onedpiece.evaluation.comparison import reconstructor
    from onedpiece.evaluation.export import export_files

    written = []
    for name, data in export_files(result, reconstructor(codec, result.side, config.against)):
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(str(path), data)
        written.append(name)
    typer.echo(f"wrote to {out}: {', '.join(reversed(written))}", err=True)
