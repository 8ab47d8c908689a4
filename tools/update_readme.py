"""Measure again the numbers and pictures of the READMEs and the model card, and write them in.

    python -m tools.update_readme [--shared FOLDER]
        [--only picture,speed,commands,release,precision,quality,compare,downstream,targets,tiles,retokenize,
            compiled,failures]

Each part runs the command that stands beside its table; a part replaces what stands between
`<!-- begin: PART -->` and `<!-- end: PART -->`. All parts take about two hours on 2 cores. Two tables
stand on trainings of an hour, and their own tools write them: `study_retokenize table --into
onedpiece/retokenize/README.md` and `study_embeddings --write onedpiece/heads/README.md`.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image

from tools.card_tables import goals, headline, idle_tail
from tools.markdown import replace_part, table
from tools.shared import add_shared, needed

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
EVALUATION = ROOT / "onedpiece" / "evaluation" / "README.md"
CARD = ROOT / "onedpiece" / "weights" / "ti-256" / "MODEL_CARD.md"
REDUCERS = ROOT / "onedpiece" / "retokenize" / "README.md"
PICTURE = ROOT / "onedpiece" / "weights" / "ti-256" / "reconstructions.png"
FIRST_RELEASE = "9444547"
"""The last commit of 0.1, whose weights and code the speed is held against."""

FREE = [ROOT / "tests" / "data" / f"{name}.png" for name in ("astronaut", "chelsea", "coffee", "rocket")]


def run(shared: Path, *words: str | Path, statuses: Sequence[int] = (0,)) -> str:
    """Run a command of ours with the offline metric weights, and return what it printed.

    Raises:
        subprocess.CalledProcessError: it ended with another status than those.
    """
    environment = os.environ | {"TORCH_HOME": str(shared / "torch_home")}
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env=environment,
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode not in statuses:
        done.check_returncode()
    return done.stdout


def quality(shared: Path) -> None:
    """The token tables: four sizes in the README; all, goals, tail and the untrained ones in the card."""
    photos, labels = shared / "data/eval/imagenet100", shared / "data/eval/imagenet100.tsv"
    judge = shared / "judge/imagenet_mobilenet_edgetpu.tflite"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "table.md"
        tool: list[str | Path] = [
            "-m",
            "tools.evaluate_tokenizer",
            "--data",
            photos,
            "--labels",
            labels,
            "--judge",
            judge,
        ]
        record = Path(folder) / "table.json"
        run(shared, *tool, "--sharpness", "0,1", "--webp", "--markdown", out, "--json", record)
        replace_part(CARD, "quality", out.read_text(encoding="utf-8"))
        records = json.loads(record.read_text(encoding="utf-8"))
        replace_part(README, "headline", headline(records))
        replace_part(CARD, "goals", goals(records))
        replace_part(CARD, "tail", idle_tail(records))
        run(shared, *tool, "--model", "ti-256-untrained", "--markdown", out)
        replace_part(CARD, "untrained", out.read_text(encoding="utf-8"))


def compare(shared: Path) -> None:
    """Our tokens beside JPEG, WebP and AVIF at equal whole-file bytes."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--against", "jpeg,webp,avif", "--metrics", "psnr,lpips,lpips-squeeze", "--out", folder]
        run(shared, "-m", "onedpiece", "compare", shared / "data/eval/imagenet100", *words)
        rows = list(csv.DictReader((Path(folder) / "results.csv").open(encoding="utf-8")))
    replace_part(EVALUATION, "compare", pivot(rows))


def pivot(rows: list[dict[str, str]]) -> str:
    """Return compare's results as one Markdown table: a row a codec, a column a metric, budgets by strokes.

    A value is the mean over photos, or a dash where more than one photo in twenty does not fit the budget.
    """
    scores: dict[tuple[str, str, int], list[float | None]] = {}
    for row in rows:
        key = (row["metric"], row["codec"], int(row["budget"]))
        scores.setdefault(key, []).append(float(row["score"]) if row["score"] else None)
    metrics, codecs = (list(dict.fromkeys(row[key] for row in rows)) for key in ("metric", "codec"))
    budgets = list(dict.fromkeys(int(row["budget"]) for row in rows))
    sizes = " / ".join(map(str, budgets))
    lines = []
    for codec in codecs:
        cells = [
            " / ".join(_mean(scores[m, codec, b], 2 if m == "psnr" else 3).removeprefix("0") for b in budgets)
            for m in metrics
        ]
        lines.append([codec, *cells])
    return table([f"at {sizes} bytes", *metrics], lines)


def _mean(values: list[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{fmean(known):.{digits}f}" if len(known) >= 0.95 * len(values) else "–"


def downstream(shared: Path) -> None:
    """What SqueezeNet 1.1 still recognises, by tokens and beside WebP at equal bytes."""
    photos, labels = shared / "data/eval/imagenet100", shared / "data/eval/imagenet100.tsv"
    words: list[str | Path] = ["evaluate", "downstream", photos, "--task", "classify", "--labels", labels]
    words += ["--against", "webp", "--json"]
    rows = json.loads(run(shared, "-m", "onedpiece", *words))
    replace_part(EVALUATION, "downstream", by_tokens(rows))


def by_tokens(rows: list[dict[str, Any]]) -> str:
    """Return downstream's records as a Markdown table: a row a codec, a column a token count."""
    counts = list(dict.fromkeys(row["tokens"] for row in rows if row["tokens"] is not None))
    codecs = list(dict.fromkeys(row["codec"] for row in rows))
    values = {(row["codec"], row["tokens"]): f"{row['value']:.3g}" for row in rows}
    heads = [rows[0]["measure"], *(f"{count} tokens" for count in counts), "whole"]
    return table(heads, ([name, *(values.get((name, k), "–") for k in [*counts, None])] for name in codecs))


def speed(shared: Path) -> None:
    """Milliseconds an image of both geometries, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "speed.json"
        words = ["--only", "network", "--threads", "1", "--clock", "process", "--rounds", "2"]
        run(shared, "-m", "tools.bench_speed", *words, "--json", out)
        report = json.loads(out.read_text(encoding="utf-8"))
    rows = {(row["what"], row["batch"]): row for row in report["rows"]}
    whats, batches = (list(dict.fromkeys(key[at] for key in rows)) for at in range(2))
    heads = [f"batch {batch}: ti-256 / s-256, ms | ratio" for batch in batches]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---:|---:|" * len(batches)]
    for what in whats:
        each = [rows[what, batch] for batch in batches]
        cells = [f"{row['ours_ms']:.0f} / {row['theirs_ms']:.0f} | {row['ratio']:.1f}×" for row in each]
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    replace_part(EVALUATION, "speed", "\n".join([*lines, "", *_around_networks(report)]))


def _around_networks(report: dict[str, Any]) -> list[str]:
    """Memory, weights and the machine, of a report of bench_speed."""
    sizes = [
        f"{what}: {each['peak_mib']:.0f} MiB, {each['weights_mb']:.0f} MB"
        for what, each in report["sizes"].items()
    ]
    rates = [f"{what} {gflops:.0f}" for what, gflops in report["gflops"].items()]
    return [
        f"Peak memory of a process that decodes one picture, and weights: {'; '.join(sizes)}.",
        f"One run, {report['threads']} threads, {report['clock']} time, float32, torch {report['torch']}; "
        f"matrix products in GFLOP/s: {', '.join(rates)}.",
    ]


def commands(shared: Path) -> None:
    """Starts of whole processes, and folders, by the clock on the wall: on a machine without other work."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "commands.json"
        words = ["--only", "start,folder", "--threads", "1", "--rounds", "2"]
        run(shared, "-m", "tools.bench_speed", *words, "--json", out)
        replace_part(EVALUATION, "commands", of_commands(json.loads(out.read_text(encoding="utf-8"))))


def of_commands(report: dict[str, Any]) -> str:
    """Return what bench_speed's parts "start" and "folder" found, as a Markdown table."""
    own = report["start"]["import torch"]
    rows = [["`import torch`, a fresh process, s", f"{own:.2f}"]]
    rows += [
        [f"`{what}`, s beside it", f"{sec - own:+.2f}"]
        for what, sec in report["start"].items()
        if what != "import torch"
    ]
    rows += [[f"folder, {what}, pictures a second", f"{each:.1f}"] for what, each in report["folder"].items()]
    return table(["", f"{report['threads']} thread of the network"], rows)


def release(shared: Path) -> None:
    """Encoding and decoding beside release 0.1's."""
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(before), FIRST_RELEASE], check=True)
        try:
            words = ["--threads", "1", "--clock", "process", "--rounds", "5"]
            text = run(shared, "-m", "tools.bench_release", before, *words)
        finally:
            subprocess.run([*git, "remove", "--force", str(before)], check=True)
    replace_part(EVALUATION, "release", text.strip())


def precision(shared: Path) -> None:
    """What networks in half precision cost."""
    photos = shared / "data/eval/imagenet100"
    text = run(shared, "-m", "tools.check_precision", "--data", photos, "--photos", "4", "--threads", "1")
    replace_part(EVALUATION, "precision", text.strip())


def picture(shared: Path) -> None:
    """Four free photographs at 104 and 391 bytes, ours beside WebP."""
    sheets = []
    for photo in FREE:
        with tempfile.TemporaryDirectory() as folder:
            words = ["--against", "webp", "--metrics", "psnr", "--bytes", "104,391", "--out", folder]
            run(shared, "-m", "onedpiece", "compare", photo, *words)
            sheets.append(Image.open(Path(folder) / "side_by_side.png").convert("RGB"))
    width, height = sheets[0].size
    whole = Image.new("RGB", (2 * width, 2 * height), "white")
    for at, sheet in enumerate(sheets):
        whole.paste(sheet, (width * (at % 2), height * (at // 2)))
    whole.quantize(256).save(PICTURE, optimize=True)


def targets(shared: Path) -> None:
    """What a quality target costs, beside trying every prefix."""
    words = ["--metrics", "psnr,ssim", "--photos", "12", "--trials", "100", "--workers", "1"]
    photos = shared / "data/eval/imagenet100"
    # 1: a promise is broken, which the table then shows.
    text = run(shared, "-m", "tools.check_targets", "--data", photos, *words, statuses=(0, 1))
    replace_part(EVALUATION, "targets", text)


def tiles(shared: Path) -> None:
    """Tiles at 0.05 bits a pixel beside the whole photo squeezed and WebP."""
    native = shared / "data/eval/native"
    small = run(
        shared, "-m", "tools.check_tiles", "table", "--data", native / "101027.jpg", native / "16004.jpg"
    )
    words: list[str | Path] = ["--data", native, "--size", "1920x1280", "--mosaic"]
    large = run(shared, "-m", "tools.check_tiles", "table", *words)
    replace_part(
        EVALUATION, "tiles", "\n".join([*small.strip().splitlines(), large.strip().splitlines()[-1]])
    )


def retokenize(shared: Path) -> None:
    """DeiT-S at batch 32 with each reducer, as the benchmark prints it."""
    words = ["--models", "DeiT-S", "--batches", "32", "--threads", "1", "--clock", "process", "--rounds", "3"]
    text = run(shared, "-m", "tools.bench_retokenize", *words)
    head, *rest = text.strip().splitlines()
    lines = [line for line in rest if line.startswith("|")]
    replace_part(REDUCERS, "bench", "\n".join([*lines, "", f"{head}."]))


def compiled(shared: Path) -> None:
    """What `torch.compile` takes with reducers and gains."""
    text = run(shared, "-m", "tools.bench_compile")
    replace_part(REDUCERS, "compiled", text.strip())


def failures(shared: Path) -> None:
    """The failure gallery, and its scores in the card."""
    replace_part(CARD, "failures", run(shared, "-m", "tools.failure_gallery"))


PARTS: dict[str, Callable[[Path], None]] = {
    "picture": picture,
    "speed": speed,
    "commands": commands,
    "release": release,
    "precision": precision,
    "quality": quality,
    "compare": compare,
    "downstream": downstream,
    "targets": targets,
    "tiles": tiles,
    "retokenize": retokenize,
    "compiled": compiled,
    "failures": failures,
}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_shared(parser)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by commas")
    arguments = parser.parse_args()
    for part in arguments.only.split(","):
        print(part, flush=True)
        PARTS[part](needed(arguments.shared).resolve())


if __name__ == "__main__":
    main()
