"""`onedpiece compare`: an honest rate-distortion study against JPEG, WebP and the rest."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onedpiece.cli.errors import FAILED
from onedpiece.cli.io import write

if TYPE_CHECKING:
    from rich.table import Table

    from onedpiece.codec import Codec
    from onedpiece.evaluation.comparison import Plan
    from onedpiece.evaluation.photos import PhotoSet
    from onedpiece.evaluation.results import Study
    from onedpiece.metrics.descriptors import Metric
    from onedpiece.metrics.registry import Scorer


def compare(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Photos, or folders of them.")],
    against: Annotated[
        str,
        typer.Option(help="Formats, by commas: jpeg, webp, avif, jxl, jpeg2000, blurhash, thumbhash."),
    ] = "jpeg,webp,avif",
    budgets: Annotated[str, typer.Option("--bytes", help="Whole-file bytes, by commas.")] = "48,96,192,384",
    metrics: Annotated[
        str, typer.Option(help="Metrics, by commas: psnr, ssim, ms-ssim, lpips, lpips-squeeze.")
    ] = "psnr,ssim,ms-ssim,lpips",
    out: Annotated[Path, typer.Option(help="Folder for the report, the plot and the numbers.")] = Path(
        "compare"
    ),
    model: Annotated[str | None, typer.Option(help="Our model: a name, or a folder.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as cores by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the curves as JSON, not as tables.")] = False,
) -> None:
    """Compare our codec with classical formats at equal bytes, each at its best, on your own photos."""
    import onedpiece
    from onedpiece.evaluation.comparison import Plan
    from onedpiece.evaluation.photos import read_photos

    plan = Plan(_names(against), _numbers(budgets), workers)
    scorer = _scorer(_names(metrics))
    codec = onedpiece.load(model)
    photos = read_photos(inputs, codec.tokenizer.config.image_size)
    for name, reason in photos.unreadable:
        typer.echo(f"onedpiece: {name}: {reason}", err=True)
    study = _run(photos, codec, plan, scorer)
    _print_json(study) if as_json else _print_tables(study)
    _write_artefacts(study, codec, out)
    if photos.unreadable:
        raise typer.Exit(FAILED)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in _names(text)]
    except ValueError:
        raise ValueError(f"--bytes is {text!r}; give whole numbers by commas, as in 48,96,192") from None


def _scorer(names: list[str]) -> "Scorer":
    from onedpiece.metrics.registry import available_scorer

    with redirect_stdout(sys.stderr):  # torch.hub says there what it downloads
        scorer, missing = available_scorer(names)
    for line in missing:
        typer.echo(f"onedpiece: {line}", err=True)
    return scorer


def _run(photos: "PhotoSet", codec: "Codec", plan: "Plan", scorer: "Scorer") -> "Study":
    from rich.console import Console
    from rich.progress import Progress

    from onedpiece.evaluation.comparison import compare as run

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Comparing", total=len(photos.photos) * (1 + len(plan.against)))
        return run(photos, codec, plan, scorer, lambda done: progress.advance(task, done))


def _print_tables(study: "Study") -> None:
    from rich.console import Console

    console = Console(highlight=False)
    photos = "1 photo" if len(study.photos) == 1 else f"{len(study.photos)} photos"
    console.print(
        f"{photos} at {study.side}x{study.side} (short side resized, centre cropped); whole-file bytes; "
        "each format at its best scale and quality"
    )
    for metric in study.metrics:
        console.print(_score_table(study, metric))
    if len(study.codecs) > 1 and len(study.budgets) > 1:
        console.print(_delta_table(study))


def _score_table(study: "Study", metric: "Metric") -> "Table":
    from rich.table import Table

    from onedpiece.evaluation.results import OURS, point

    better = "higher" if metric.higher_is_better else "lower"
    table = Table(
        "whole-file bytes, at most", title=f"{metric.axis_label} ({better} is better)", title_justify="left"
    )
    for budget in study.budgets:
        table.add_column(str(budget), justify="right")
    for codec in study.codecs:
        points = [point(study, codec, budget, metric) for budget in study.budgets]
        cells = ["\N{EN DASH}" if p is None else f"{p.score:.{metric.digits}f}" for p in points]
        ours = codec == OURS
        table.add_row(study.model if ours else codec, *cells, style="bold" if ours else None)
    return table


def _delta_table(study: "Study") -> "Table":
    from rich.table import Table

    from onedpiece.evaluation.results import deltas

    table = Table("ours against", title="Bytes at equal score; score at equal bytes", title_justify="left")
    for metric in study.metrics:
        table.add_column(metric.axis_label, justify="right")
    for of_codec in zip(*(deltas(study, metric) for metric in study.metrics), strict=True):
        rates = [d.rate if isinstance(d.rate, str) else f"{d.rate:+.0f} %" for d in of_codec]
        gains = [
            "" if isinstance(d.quality, str) else f"; {d.quality:+.{d.metric.digits}f}" for d in of_codec
        ]
        table.add_row(of_codec[0].codec, *(rate + gain for rate, gain in zip(rates, gains, strict=True)))
    return table


def _print_json(study: "Study") -> None:
    from onedpiece.evaluation.export import curves_json

    typer.echo(curves_json(study, study.codecs))


def _write_artefacts(study: "Study", codec: "Codec", out: Path) -> None:
    from onedpiece.evaluation.comparison import reconstructor
    from onedpiece.evaluation.export import artefacts

    written = []
    for name, data in artefacts(study, reconstructor(codec, study.side)):
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(str(path), data)
        written.append(name)
    typer.echo(f"wrote to {out}: {', '.join(reversed(written))}", err=True)
