"""Hold the targets against brute force: photos × trials, decodes, time; the table for issue 5.

    python tools/check_targets.py --data ../shared/data/eval/imagenet100 --photos 100 --trials 200

Decodes all prefixes of every photo once (about a minute a photo on one core), keeps their scores in --cache,
and searches for random targets between the worst and the best score. Reports for each metric how many
targets were met, how far the answer is above the fewest tokens that brute force finds, the largest ripple,
the decodes, and for PSNR the processor time of an encode to a target beside that of a plain encode plus
decode of as many tokens. Status 1 where a target is missed or an answer is more than one token above.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.pictures import read_picture
from onedpiece.rate import METRICS, Target
from onedpiece.rate.aim import Aim
from onedpiece.rate.search import fewest
from onedpiece.scoring import scorer
from onedpiece.weights.load import load


class Trial(NamedTuple):
    """One search: tokens above brute force, and prefixes decoded."""

    above: int
    decodes: int
    met: bool


def curves(
    codec: Codec, photo: Image.Image, code: Code, metrics: list[str]
) -> dict[str, NDArray[np.float64]]:
    """Return the score of every prefix by each metric, each (N,)."""
    score = {metric: scorer(metric, photo) for metric in metrics}
    rows: dict[str, list[float]] = {metric: [] for metric in metrics}
    for tokens in range(1, len(code) + 1):
        picture = codec.decode(code, tokens)
        for metric in metrics:
            rows[metric] += score[metric]([picture])
    return {metric: np.array(row) for metric, row in rows.items()}


def cached(codec: Codec, path: Path, metrics: list[str], cache: Path) -> dict[str, NDArray[np.float64]]:
    """Return `curves` of a photo, and its forecast; from the cache where they are there."""
    kept = cache / f"{codec.fingerprint.hex()}-{path.stem}.npz"
    if kept.exists() and set(metrics) <= set(np.load(kept).files):
        return dict(np.load(kept))
    photo = read_picture(path)
    code = codec.encode(photo, tiles=False)
    found = curves(codec, photo, code, metrics)
    forecast = codec.forecast(photo, code)
    if forecast is not None:
        found["forecast"] = np.array(forecast)
    np.savez(kept, **found)
    return found


def ripple(margins: NDArray[np.float64]) -> float:
    """Return by how much a shorter prefix scores better than a longer one, at most."""
    return float((np.maximum.accumulate(margins) - margins).max())


def try_targets(
    metric: str, scores: NDArray[np.float64], forecast: list[float] | None, trials: int, seed: int
) -> list[Trial]:
    """Search for random targets on known scores."""
    done = []
    for value in np.random.default_rng(seed).uniform(scores.min(), scores.max(), trials):
        target = Target(metric, float(value))
        found = fewest(target, lambda tokens: float(scores[tokens - 1]), len(scores), forecast)
        brute = next(at + 1 for at, score in enumerate(scores) if target.margin(float(score)) >= 0)
        done.append(Trial(found.tokens - brute, found.measured, found.reached))
    return done


def try_budgets(code: Code, trials: int, seed: int) -> list[Trial]:
    """Cut a code to random numbers of bytes; the answer is the longest that fits."""
    sizes = [len(code[:tokens].to_bytes()) for tokens in range(1, len(code) + 1)]
    done = []
    for budget in np.random.default_rng(seed).integers(sizes[0], max(sizes) + 1, trials).tolist():
        cut = code.fit(budget)
        brute = max(at + 1 for at, size in enumerate(sizes) if size <= budget)
        done.append(Trial(brute - len(cut), 0, len(cut.to_bytes()) <= budget))
    return done


def time_ratio(codec: Codec, photo: Image.Image, value: float) -> float:
    """Return the processor time of encoding to a PSNR over a plain encode plus decode of as many tokens."""
    start = time.process_time()
    code = codec.encode_to(photo, Aim(psnr=value), tiles=False, best_effort=True).code
    middle = time.process_time()
    codec.decode(codec.encode(photo, tokens=len(code), tiles=False))
    return (middle - start) / (time.process_time() - middle)


def main() -> int:
    """Run, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--timings", type=int, default=1, help="timed searches a photo")
    parser.add_argument("--metrics", default="psnr,ssim,lpips")
    parser.add_argument("--model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/onedpiece_curves"))
    asked = parser.parse_args()
    asked.cache.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    codec = load(asked.model, asked.device)
    metrics = asked.metrics.split(",")
    paths = sorted(path for path in asked.data.iterdir() if path.suffix in (".png", ".jpg"))[: asked.photos]
    trials: dict[str, list[Trial]] = {metric: [] for metric in [*metrics, "max-bytes"]}
    ripples: dict[str, list[float]] = {metric: [] for metric in metrics} | {"max-bytes": [0.0]}
    ratios: list[float] = []
    for seed, path in enumerate(paths):
        found = cached(codec, path, metrics, asked.cache)
        forecast = found["forecast"].tolist() if "forecast" in found else None
        for metric in metrics:
            sign = 1 if METRICS[metric].higher_is_better else -1
            ripples[metric].append(ripple(sign * found[metric]))
            trials[metric] += try_targets(metric, found[metric], forecast, asked.trials, seed)
        trials["max-bytes"] += try_budgets(codec.encode(read_picture(path), tiles=False), asked.trials, seed)
        if "psnr" in metrics:
            values = np.random.default_rng(seed).uniform(
                found["psnr"].min(), found["psnr"].max(), asked.timings
            )
            ratios += [time_ratio(codec, read_picture(path), float(value)) for value in values]
        print(f"\r{seed + 1} of {len(paths)} photos", end="", file=sys.stderr)
    print(file=sys.stderr)
    return report(trials, ripples, ratios)


def report(trials: dict[str, list[Trial]], ripples: dict[str, list[float]], ratios: list[float]) -> int:
    """Print the table, and return 1 where a promise is broken."""
    print("| metric | trials | met | exact | most above | decodes, mean (95 %, most) | largest ripple |")
    print("|---|---|---|---|---|---|---|")
    worst = 0
    for metric, done in trials.items():
        met, exact = np.mean([trial.met for trial in done]), np.mean([trial.above == 0 for trial in done])
        above, decodes = max(trial.above for trial in done), [trial.decodes for trial in done]
        worst = max(worst, above, 2 * int(met < 1))
        print(
            f"| {metric} | {len(done)} | {100 * met:.1f} % | {100 * exact:.2f} % | {above} "
            f"| {np.mean(decodes):.1f} ({np.quantile(decodes, 0.95):.0f}, {max(decodes)}) "
            f"| {max(ripples[metric]):.4f} |"
        )
    if ratios:
        print(
            f"\nPSNR target over plain encode + decode, processor time, {len(ratios)} searches: mean "
            f"{np.mean(ratios):.2f}, median {np.median(ratios):.2f}, 95 % {np.quantile(ratios, 0.95):.2f}, "
            f"most {max(ratios):.2f}"
        )
    return int(worst > 1)


if __name__ == "__main__":
    sys.exit(main())
