"""Train the short runs that decide the recipe, score each, and write the tables of configs/README.md.

    python -m tools.ablate recipe           # configs/ablations/recipe.yaml: about 4 minutes a row and core
    python -m tools.ablate trade            # configs/ablations/trade.yaml, and the trade.png beside it
    python -m tools.ablate recipe --table   # the table again, from the rows that there are

A row is a run of `onedpiece train fit` on one core for so many minutes of *processor* time, which is fair on
a machine that does other work too, and a score on Imagenette's test photos: the set that is reported on
chooses nothing here. Rows that configs/ablations/STUDY.csv holds are not run again; several of these commands
at once, one a core, share the rows. `--set data.init_args.cache=FOLDER` names a cache of decoded pictures.
"""

import argparse
import csv
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from onedpiece.codec import Codec
from onedpiece.evaluation.classifier import HeldOutClassifier
from onedpiece.evaluation.photos import Photo, read_photos
from onedpiece.evaluation.token_table import Evaluators, token_rows
from onedpiece.metrics.descriptors import METRICS
from onedpiece.metrics.registry import Scorer
from onedpiece.weights import load
from tools.markdown import replace_part, rows
from tools.shared import IMAGENETTE, add_shared, needed

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "configs" / "ablations"
TABLES = ROOT / "configs" / "README.md"
MARKS = "o^sDvP*X<>"
TRADE_PICTURE = ROOT / "configs" / "ablations" / "trade.png"


@dataclass(frozen=True)
class Row:
    """One run: what it is called, what it tries, and what it lays over the base config."""

    name: str
    says: str
    set: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Return the name as a file system takes it."""
        return "".join(c if c.isalnum() else "_" for c in self.name)


@dataclass(frozen=True)
class Study:
    """A table's rows, and how they are scored."""

    base: str
    per_class: int  # photos of each of Imagenette's ten classes
    metrics: list[str]
    counts: list[int]  # tokens
    judged: list[int]  # of these, what the table shows the judge's answer for
    rows: list[Row]


@dataclass(frozen=True)
class Run:
    """What a training run took."""

    photos: int
    minutes: float


def read_study(name: str) -> Study:
    """Read `configs/ablations/NAME.yaml`."""
    values = yaml.safe_load((STUDIES / f"{name}.yaml").read_text(encoding="utf-8"))
    return Study(**values | {"rows": [Row(**row) for row in values["rows"]]})


def words(study: Study, row: Row, folder: Path, extra: Sequence[str]) -> list[str]:
    """Return the words after `onedpiece train` that train a row."""
    laid_over = [f"--{key}={_word(value)}" for key, value in row.set.items()]
    given = [f"--{pair}" for pair in extra]
    return ["fit", f"--config={study.base}", f"--trainer.default_root_dir={folder}", *given, *laid_over]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def train(study: Study, row: Row, folder: Path, extra: Sequence[str]) -> Run:
    """Train a row in a process of its own, which writes into `folder`, unless its weights are there."""
    command = [sys.executable, "-m", "onedpiece.training.cli", *words(study, row, folder, extra)]
    if not (folder / "weights" / "config.json").is_file():
        with (folder / "output.txt").open("w") as output:
            subprocess.run(command, cwd=ROOT, check=True, stdout=output, stderr=subprocess.STDOUT)
    return took(max(folder.glob("log/version_*"), key=lambda path: int(path.name.split("_")[1])))


def took(log: Path) -> Run:
    """Read photos and minutes off a run's log folder."""
    batch = yaml.safe_load((log / "config.yaml").read_text())["data"]["init_args"]["batch"]
    with (log / "metrics.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    minutes = [float(line["train/minutes"]) for line in lines if line.get("train/minutes")]
    return Run((max(int(line["step"]) for line in lines) + 1) * batch, minutes[-1])


def score(
    codec: Codec, photos: Sequence[Photo], counts: Sequence[int], evaluators: Evaluators
) -> dict[str, float]:
    """Return the means by name, `psnr_64` and the like; `judge_64` is a share."""
    found: dict[str, float] = {}
    for row in token_rows(codec, photos, counts, evaluators):
        scores = zip(evaluators.scorer.metrics, row.scores, strict=True)
        found |= {f"{metric.name}_{row.tokens}": value for metric, value in scores if value is not None}
        found[f"judge_{row.tokens}"] = float("nan") if row.top1 is None else row.top1
    return found


def decode_ms(codec: Codec, rounds: int = 20) -> float:
    """Return the processor time of decoding one whole code, the best of a few, in milliseconds."""
    indices = torch.zeros(1, codec.num_tokens, dtype=torch.int64)
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        codec.tokenizer.detokenize(indices)
        best = min(best, time.process_time() - start)
    return 1e3 * best


def judged_photos(shared: Path, per_class: int) -> tuple[list[Photo], dict[str, int]]:
    """Return the first photos of each of Imagenette's test folders, and their ImageNet classes by name."""
    found = read_photos([shared / "downstream" / "imagenette_val"], 256).photos
    wnids = [Path(photo.name).parts[0] for photo in found]
    kept = [p for at, p in enumerate(found) if wnids[:at].count(wnids[at]) < per_class]
    return kept, {photo.name: IMAGENETTE[Path(photo.name).parts[0]] for photo in kept}


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Yield whether this process may work in `folder`; the claim ends with the process at the latest."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "claim").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def read_results(path: Path) -> dict[str, dict[str, str]]:
    """Return the results that there are, by the rows' names."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {line["row"]: line for line in csv.DictReader(file)}


def append_result(path: Path, values: dict[str, Any]) -> None:
    """Add a line, whole even where several processes write."""
    with path.open("a", encoding="utf-8", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = csv.DictWriter(file, list(values), lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in values.items()})


Measure = Callable[[Row, Path], dict[str, Any]]
"""Train a row into a folder and score it: what its line of the results says, by column."""


def run_rows(name: str, rows: Sequence[Row], runs: Path, measure: Measure) -> None:
    """Measure every row that is not there yet and nobody else works on, and append it to the results."""
    results = STUDIES / f"{name}.csv"
    for row in rows:
        if row.name in read_results(results):
            continue
        with claimed(runs / name / row.folder) as mine:
            if mine and row.name not in read_results(results):
                print(f"{time.strftime('%H:%M:%S')} {row.name}", flush=True)
                append_result(results, {"row": row.name} | measure(row, runs / name / row.folder))


def measure_with(study: Study, args: argparse.Namespace) -> Measure:
    """Return what trains a row of the study by `onedpiece train fit` and scores it on Imagenette's photos."""
    photos, labels = judged_photos(needed(args.shared) / "data", study.per_class)
    judge = HeldOutClassifier(needed(args.shared) / "judge" / "imagenet_mobilenet_edgetpu.tflite")
    evaluators = Evaluators(Scorer(study.metrics), classifier=judge, labels=labels)

    def measure(row: Row, folder: Path) -> dict[str, Any]:
        run = train(study, row, folder, args.set)
        codec = load(folder / "weights")
        took_ = {"device": args.on} | asdict(run) | {"decode_ms": decode_ms(codec)}
        return took_ | score(codec, photos, study.counts, evaluators)

    return measure


def table(study: Study, results: dict[str, dict[str, str]]) -> str:
    """Return the rows that there are as a Markdown table, in the order of the study."""
    metrics = [METRICS[name] for name in study.metrics]
    counts, judged = " / ".join(map(str, study.counts)), " / ".join(map(str, study.judged))
    heads = ["row", "what", "minutes", "photos", "decode, ms"]
    heads += [f"{m.label} {'↑' if m.higher_is_better else '↓'} at {counts}" for m in metrics]
    lines = [
        [*heads, f"judge top-1 % at {judged}"],
        ["---"] * 2 + ["---:"] * 3 + ["---"] * (1 + len(metrics)),
    ]
    for row in study.rows:
        if row.name in results:
            found = results[row.name]
            took_ = [f"{float(found['minutes']):.1f}", found["photos"], f"{float(found['decode_ms']):.0f}"]
            cells = [
                " / ".join(f"{float(found[f'{m.name}_{k}']):.{m.digits}f}" for k in study.counts)
                for m in metrics
            ]
            judge = " / ".join(f"{100 * float(found[f'judge_{k}']):.0f}" for k in study.judged)
            lines.append([row.name, row.says, *took_, *cells, judge])
    devices = sorted({line["device"] for line in results.values()})
    return (
        f"{rows(lines)}\n\n{10 * study.per_class} photos of Imagenette's test split; decode: one whole code. "
        f"Device: {'; '.join(devices)}."
    )


def draw_trade(study: Study, results: dict[str, dict[str, str]]) -> Figure:
    """Draw LPIPS and the judge over PSNR: a colour a token count, a mark a row."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    there = [row.name for row in study.rows if row.name in results]
    panels = figure.subplots(1, 2)
    for panel, (key, label) in zip(panels, (("lpips", "LPIPS-Alex"), ("judge", "judge, top-1")), strict=True):
        for colour, count in enumerate(study.counts):
            for mark, name in zip(MARKS, there, strict=False):
                point = (float(results[name][f"{at}_{count}"]) for at in ("psnr", key))
                panel.plot(*([value] for value in point), mark, color=f"C{colour}", markersize=6)
        panel.margins(0.1)
        panel.set_xlabel("PSNR, dB")
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
    marks = [Line2D([], [], marker=mark, ls="", color="0.3") for mark in MARKS[: len(there)]]
    counts = [Line2D([], [], marker="s", ls="", color=f"C{at}") for at in range(len(study.counts))]
    names = [*there, *(f"{count} tokens" for count in study.counts)]
    figure.legend([*marks, *counts], names, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "study", choices=sorted(path.stem for path in STUDIES.glob("*.yaml") if "rows:" in path.read_text())
    )
    parser.add_argument("--only", type=lambda text: text.split(";"), help="rows, by semicolons")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for every row")
    add_shared(parser)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "ablations", help="for logs and weights")
    parser.add_argument("--on", default="one core of a 4-core x86 machine with AMX", help="the device's name")
    parser.add_argument("--table", action="store_true", help="train nothing")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    args = parse(argv)
    if args.shared is not None:
        os.environ.setdefault("TORCH_HOME", str((args.shared / "torch_home").resolve()))
    torch.set_num_threads(1)
    study = read_study(args.study)
    if not args.table:
        chosen = [row for row in study.rows if not args.only or row.name in args.only]
        run_rows(args.study, chosen, args.runs, measure_with(study, args))
    results = read_results(STUDIES / f"{args.study}.csv")
    replace_part(TABLES, args.study, table(study, results))
    if args.study == "trade":
        draw_trade(study, results).savefig(TRADE_PICTURE, dpi=100)
    return 0


if __name__ == "__main__":
    sys.exit(main())
