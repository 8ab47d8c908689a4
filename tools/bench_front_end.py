"""Measure what merging patches inside the encoder saves in time and costs in quality.

    python -m tools.bench_front_end --data PHOTOS --model runs/ti256/weights
        [--tuned runs/ti256_retokenize] [--keeps 0.75,0.5,0.25] [--first 50] [--threads 1] [--csv table.csv]

One line for each re-tokenizer and share of patches, as `onedpiece encode --retokenize NAME --keep R` runs it
with a model that has an encoder network (configs/tokenizer_ti256.yaml trains one; the bundled one has none),
beside the whole encoder and beside the linear path alone, which no transformer runs behind. Time is that of
`tokenize`, in turns, the median of the rounds; quality is that of the decoded pictures at 64 and at 256
tokens. `--tuned` names a folder of fine-tuned encoders, NAME-R/weights and whole/weights, as
configs/tokenizer_ti256_retokenize.yaml writes them. A star: no other line is as fast and as good in all.
"""

import argparse
import csv
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import onedpiece
from onedpiece.cli.reduction import REDUCERS, TokenReduction
from onedpiece.codec import tensors
from onedpiece.evaluation.photos import Photo, read_photos
from onedpiece.evaluation.token_table import Evaluators, token_rows
from onedpiece.metrics.registry import Scorer
from onedpiece.retokenize import trace
from onedpiece.retokenize.adapters import find_site
from tools.markdown import replace_part, table

COUNTS = (64, 256)
BATCHES = (1, 8)
COMPARED = 16  # photos whose tokens are compared one by one


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    label: str
    weights: str  # shipped or fine-tuned
    patches: int  # behind the encoder's last layer
    changed: float  # share of tokens that differ from the whole shipped encoder's
    ms: tuple[float, ...]  # a photo, for each of BATCHES
    ratios: tuple[float, ...]  # speed over the whole encoder's in the same round, likewise
    psnr: tuple[float, ...]  # for each of COUNTS
    lpips: tuple[float, ...]

    def beats(self, other: "Line") -> bool:
        """Return whether this is nowhere behind the other and somewhere ahead."""
        costs, others = self._costs(), other._costs()
        return costs != others and all(own <= theirs for own, theirs in zip(costs, others, strict=True))

    def _costs(self) -> tuple[float, ...]:
        # Times within 2 % and pictures within what the table prints are no difference.
        ratios = [-round(ratio, 2) for ratio in self.ratios]
        return *ratios, *(-round(x, 2) for x in self.psnr), *(round(x, 3) for x in self.lpips)


class _Silent(nn.Module):
    """Adds nothing to the linear path."""

    def forward(self, x: Tensor, latent_tokens: Tensor, linear: Tensor) -> Tensor:
        return torch.zeros_like(linear)


def codecs(model: str, keeps: Sequence[float], tuned: Path | None) -> dict[tuple[str, str], onedpiece.Codec]:
    """Return everything that is compared, by label and weights; the whole encoder first."""
    made = _both("whole encoder", model, tuned and tuned / "whole" / "weights")
    silent = onedpiece.load(model)
    silent.tokenizer.encoder = _Silent()  # type: ignore[assignment]
    made["linear path alone", "shipped"] = silent
    for name in REDUCERS:
        for keep in keeps:
            pair = _both(f"{name} {keep:g}", model, tuned and tuned / f"{name}-{keep:g}" / "weights")
            for codec in pair.values():
                TokenReduction(name, keep).apply_to(codec)
            made |= pair
    return made


def _both(label: str, model: str, folder: Path | None) -> dict[tuple[str, str], onedpiece.Codec]:
    shipped = {(label, "shipped"): onedpiece.load(model)}
    if folder is None or not folder.is_dir():
        return shipped
    return shipped | {(label, "fine-tuned"): onedpiece.load(folder)}


def patches_left(codec: onedpiece.Codec, x: Tensor) -> int:
    """Patches behind the encoder's last layer."""
    if isinstance(codec.tokenizer.get_submodule("encoder"), _Silent):
        return 0
    target = find_site(codec.tokenizer)
    if not hasattr(codec.tokenizer, "remove"):
        return target.num_free
    last = trace(codec.tokenizer, x[:1]).states[-1]
    return last.x.shape[1] - target.layout.prefix - target.layout.tail


def seconds_of(runs: Mapping[tuple[str, str], nn.Module], x: Tensor, rounds: int) -> list[list[float]]:
    """Return the seconds of each round for each tokenizer, in turns, after a round that does not count."""
    taken: list[list[float]] = [[] for _ in runs]
    for number in range(rounds + 1):
        for own, tokenizer in zip(taken, runs.values(), strict=True):
            start = time.perf_counter()
            tokenizer.tokenize(x)  # type: ignore[operator]
            if number:
                own.append(time.perf_counter() - start)
    return taken


def measure(made: dict[tuple[str, str], onedpiece.Codec], photos: list[Photo], rounds: int) -> list[Line]:
    """Time and judge every codec."""
    evaluators = Evaluators(Scorer(("psnr", "lpips")))
    tokenizers = {key: codec.tokenizer for key, codec in made.items()}
    pictures = torch.rand(max(BATCHES), 3, *photos[0].image.size, generator=torch.Generator().manual_seed(0))
    times = {batch: seconds_of(tokenizers, pictures[:batch], rounds) for batch in BATCHES}
    squares = (tensors.Photo(photo.image).pixels(photos[0].image.width) for photo in photos[:COMPARED])
    shown = torch.stack([torch.from_numpy(square) for square in squares])
    reference = next(iter(tokenizers.values())).tokenize(shown)
    lines = []
    for at, ((label, weights), codec) in enumerate(made.items()):
        rows = token_rows(codec, photos, COUNTS, evaluators)
        lines.append(
            Line(
                label,
                weights,
                patches_left(codec, pictures),
                float((codec.tokenizer.tokenize(shown) != reference).float().mean()),
                tuple(1000 * statistics.median(times[batch][at]) / batch for batch in BATCHES),
                tuple(_ratio(times[batch][0], times[batch][at]) for batch in BATCHES),
                *(tuple(float(row.scores[score] or 0) for row in rows) for score in (0, 1)),
            )
        )
    return lines


def _ratio(base: Sequence[float], own: Sequence[float]) -> float:
    return statistics.median(b / t for b, t in zip(base, own, strict=True))


def markdown(lines: Sequence[Line]) -> str:
    """Return the lines as a Markdown table."""
    heads = ["", "weights", "patches", "tokens changed", *(f"ms, batch {batch}" for batch in BATCHES)]
    heads += [f"{name}, {count} tokens" for count in COUNTS for name in ("dB", "LPIPS")] + ["front"]
    body = []
    for line in lines:
        times = (f"{ms:.1f} ({ratio:.2f}×)" for ms, ratio in zip(line.ms, line.ratios, strict=True))
        scores = (f"{x:.2f} | {y:.3f}" for x, y in zip(line.psnr, line.lpips, strict=True))
        front = "" if any(other.beats(line) for other in lines) else "*"
        cells = [line.label, line.weights, str(line.patches), f"{line.changed:.1%}"]
        body.append([*cells, *times, *scores, front])
    return table(heads, body, left=2)


def write_csv(path: Path, lines: Sequence[Line]) -> None:
    """Write all digits."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(lines[0])))
        writer.writeheader()
        writer.writerows(asdict(line) for line in lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a folder of photos")
    parser.add_argument(
        "--model", required=True, help="a model with an encoder network, which the bundled one has not"
    )
    parser.add_argument("--tuned", type=Path, help="folder of fine-tuned encoders")
    parser.add_argument("--keeps", default="0.75,0.5,0.25", help="shares of patches, by commas; may be empty")
    parser.add_argument("--first", type=int, help="only the first so many photos")
    parser.add_argument("--rounds", type=int, default=15, help="timed passes of each")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's")
    parser.add_argument("--into", type=Path, help="put the table between this file's marks as well")
    parser.add_argument("--csv", type=Path, help="write all digits there")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    keeps = [float(keep) for keep in options.keeps.split(",") if keep]
    made = codecs(options.model, keeps, options.tuned)
    side = next(iter(made.values())).image_size
    photos = read_photos([options.data], side).photos[: options.first]
    lines = measure(made, photos, options.rounds)
    conditions = (
        f"{len(photos)} photos, torch {torch.__version__}, {torch.get_num_threads()} threads, float32."
    )
    text = f"{markdown(lines)}\n\n{conditions}"
    print(text)
    if options.into:
        replace_part(options.into, "front-end", text)
    if options.csv:
        write_csv(options.csv, lines)


if __name__ == "__main__":
    main()
