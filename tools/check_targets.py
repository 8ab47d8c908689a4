"""Hold the targets against brute force: photos × trials, decodes, time.

    python -m tools.check_targets --data PHOTOS --workers 4

Decodes every prefix of every photo once (20 to 40 s a photo on one core, and with lpips, whose targets are
those of the sharp look, 8 minutes), keeps their scores in --cache, so that a run that was stopped goes on,
and searches for --trials random targets between the worst and the best score of each photo. Reports for each
metric how many targets were met, how far the answer is above the fewest tokens that brute force finds (in
the mean, in 99 of 100, at most), the largest ripple and the decodes. Then, for the metrics of --timed, which
need no such curves, the processor time of an encode to a random target between the scores of one token and of
all, beside that of a plain encode plus decode of as many tokens. Status 1 where a target is missed, or more
than one PSNR target in a hundred, or any of bytes, is more than one token above.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from onedpiece.bitstream import Code
from onedpiece.codec import Codec
from onedpiece.codec.find import find_images
from onedpiece.codec.images import read_picture
from onedpiece.evaluation.baselines import start_executor
from onedpiece.metrics.registry import Scorer
from onedpiece.rate import METRICS, QualityTarget
from onedpiece.rate.search import SearchResult, find_min_tokens, find_min_tokens_gp
from onedpiece.rate.target import RateTarget
from onedpiece.weights.checkpoint import load
from tools.prefix_curves import Curves, prefix_curves, stored_curves


class Trial(NamedTuple):
    """One search: tokens above brute force, and prefixes decoded."""

    above: int
    decodes: int
    met: bool


class Checked(NamedTuple):
    """What one photo came to: trials and the largest ripple by kind of target, ratios of times."""

    trials: dict[str, list[Trial]]
    ripples: dict[str, float]
    ratios: dict[str, list[float]]


class Asked(NamedTuple):
    """What is checked on every photo."""

    model: str | None
    metrics: tuple[str, ...]
    trials: int
    timed: tuple[str, ...]
    timings: int
    cache: Path


def ripple(margins: NDArray[np.float64]) -> float:
    """Return by how much a shorter prefix scores better than a longer one, at most."""
    return float((np.maximum.accumulate(margins) - margins).max())


def try_targets(metric: str, found: Curves, trials: int, seed: int) -> list[Trial]:
    """Search for random targets on known scores, as `Codec.reach` does."""
    scores = found[metric].tolist()
    forecast = found.get(f"{metric} forecast")
    expected = None if forecast is None else forecast.tolist()
    values = np.random.default_rng(seed).uniform(min(scores), max(scores), trials)
    return [_try_target(QualityTarget(metric, float(value)), scores, expected) for value in values]


def _try_target(target: QualityTarget, scores: list[float], forecast: list[float] | None) -> Trial:
    def measure(tokens: int) -> float:
        return scores[tokens - 1]

    found: SearchResult
    if target.metric == "lpips" or forecast is not None:
        found = find_min_tokens_gp(target, measure, len(scores), forecast)
    else:
        found = find_min_tokens(target, measure, len(scores), forecast)
    brute = next(at + 1 for at, score in enumerate(scores) if target.margin(score) >= 0)
    return Trial(found.tokens - brute, found.measured, found.reached)


def try_budgets(code: Code, trials: int, seed: int) -> list[Trial]:
    """Cut a code to random numbers of bytes; the answer is the longest that fits."""
    sizes = [len(code[:tokens].to_bytes()) for tokens in range(1, len(code) + 1)]
    done = []
    for budget in np.random.default_rng(seed).integers(sizes[0], max(sizes) + 1, trials).tolist():
        cut = code.fit(budget)
        brute = max(at + 1 for at, size in enumerate(sizes) if size <= budget)
        done.append(Trial(brute - len(cut), 0, len(cut.to_bytes()) <= budget))
    return done


def random_targets(codec: Codec, photo: Image.Image, metric: str, count: int, seed: int) -> list[float]:
    """Draw targets evenly between what the first token reaches and what all do."""
    code = codec.encode(photo, tiles=False)
    scorer = Scorer([] if metric == "psnr" else [metric])
    ends = prefix_curves(codec, photo, code, scorer, (1, len(code)))[metric]
    drawn: list[float] = np.random.default_rng(seed).uniform(ends.min(), ends.max(), count).tolist()
    return drawn


def time_ratio(codec: Codec, photo: Image.Image, metric: str, value: float) -> float:
    """Return the processor time of encoding to a quality over a plain encode plus decode of as many tokens.

    The decode is in the look that the file asks for. The plain ones run before and after, and their mean
    counts: a machine's clock changes.
    """
    target = RateTarget(**{metric: value})  # type: ignore[arg-type]
    found = codec.encode_to(photo, target, tiles=False, best_effort=True).code
    sharpness = 0.0 if found.faithful else None

    def plain() -> None:
        codec.decode(codec.encode(photo, tokens=len(found), tiles=False), sharpness=sharpness)

    before = _seconds(plain)
    search = _seconds(lambda: codec.encode_to(photo, target, tiles=False, best_effort=True))
    return 2 * search / (before + _seconds(plain))


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@cache
def _codec(model: str | None) -> Codec:
    torch.set_num_threads(1)
    return load(model)


def check(path: Path, seed: int, asked: Asked) -> Checked:
    """Check one photo; everything in and out can be pickled."""
    codec = _codec(asked.model)
    found = stored_curves(codec, path, [name for name in asked.metrics if name != "psnr"], asked.cache)
    trials = {metric: try_targets(metric, found, asked.trials, seed) for metric in asked.metrics}
    photo = read_picture(path)
    trials["max-bytes"] = try_budgets(codec.encode(photo, tiles=False), asked.trials, seed)
    signs = {metric: 1 if METRICS[metric].higher_is_better else -1 for metric in asked.metrics}
    ripples = {metric: ripple(sign * found[metric]) for metric, sign in signs.items()} | {"max-bytes": 0.0}
    ratios = {}
    for metric in asked.timed:
        values = random_targets(codec, photo, metric, asked.timings, seed)
        ratios[metric] = [time_ratio(codec, photo, metric, value) for value in values]
    return Checked(trials, ripples, ratios)


def report(photos: Sequence[Checked]) -> int:
    """Print the table, and return 1 where a promise is broken."""
    print(
        "| metric | trials | met | exact | above, mean (99 %, most) | decodes, mean (95 %, most) | ripple |"
    )
    print("|---|---|---|---|---|---|---|")
    broken = 0
    for kind in photos[0].trials:
        done = list(chain(*(photo.trials[kind] for photo in photos)))
        met, exact = np.mean([trial.met for trial in done]), np.mean([trial.above == 0 for trial in done])
        above, decodes = [trial.above for trial in done], [trial.decodes for trial in done]
        high = np.quantile(above, 0.99)
        broken |= int(met < 1 or (kind == "psnr" and high > 1) or (kind == "max-bytes" and max(above) > 1))
        print(
            f"| {kind} | {len(done)} | {100 * met:.2f} % | {100 * exact:.2f} % "
            f"| {np.mean(above):.2f} ({high:.0f}, {max(above)}) "
            f"| {np.mean(decodes):.1f} ({np.quantile(decodes, 0.95):.0f}, {max(decodes)}) "
            f"| {max(photo.ripples[kind] for photo in photos):.4f} |"
        )
    for metric in photos[0].ratios:
        if ratios := list(chain(*(photo.ratios[metric] for photo in photos))):
            print(
                f"\n{metric} target over plain encode + decode, processor time, {len(ratios)} searches: mean "
                f"{np.mean(ratios):.2f}, median {np.median(ratios):.2f}, 95 % "
                f"{np.quantile(ratios, 0.95):.2f}, most {max(ratios):.2f}"
            )
    return broken


def main() -> int:
    """Run, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--metrics", default="psnr,ssim", help="held against brute force")
    parser.add_argument("--timed", default="psnr,ssim,lpips", help="metrics whose searches are timed")
    parser.add_argument("--timings", type=int, default=2, help="timed searches a photo and metric")
    parser.add_argument("--model")
    parser.add_argument("--workers", type=int, help="processes of one thread each; default: one a core")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/onedpiece_curves"))
    words = parser.parse_args()
    words.cache.mkdir(parents=True, exist_ok=True)
    metrics, timed = (tuple(each.split(",")) for each in (words.metrics, words.timed))
    asked = Asked(words.model, metrics, words.trials, timed, words.timings, words.cache)
    paths = find_images(words.data).paths[: words.photos]
    with start_executor(len(paths), words.workers) as executor:
        jobs = [executor.submit(check, path, seed, asked) for seed, path in enumerate(paths)]
        for done, _ in enumerate(as_completed(jobs)):
            print(f"{done + 1} of {len(paths)} photos", file=sys.stderr)
    return report([job.result() for job in jobs])


if __name__ == "__main__":
    sys.exit(main())
