"""What heads on our tokens are worth, beside networks of their size on pixels of as many bytes.

    python -m tools.make_codes --out runs/codes      # once
    python -m tools.study_heads [train,table,speed,reduce] [--caches runs/codes]
        [--work runs/head_study] [--shared FOLDER] [--inputs codes,webp,ours] [--seeds 0,1,2]
        [--minutes 3] [--config configs/head_classify_imagenette.yaml]

`train` trains a classifier for each input and seed, the same minutes each and on one core (the process's
own minutes, so that other work on the machine takes nothing away); pictures for the networks on pixels are
coded first and kept, and what is finished is not done again. `table` gives the means and results.csv. `speed`
times a head on 64 tokens and the network on pixels in turns. `reduce` puts a reducer in front of a
trained head. Every part but the first prints a Markdown table and leaves it as PART.md below the work folder.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

import onedpiece
from onedpiece.heads import load_head
from onedpiece.training.codes.base import TEST
from tools.head_study.inputs import INPUTS, Input, Material
from tools.head_study.networks import fresh_head, fresh_vit, to_network
from tools.head_study.reduced import reduce_in_front
from tools.head_study.report import read_cells, to_csv, to_markdown, write_cells
from tools.head_study.run import train_codes, train_pixels
from tools.head_study.settings import read_settings
from tools.head_study.speed import rates
from tools.make_codes import source
from tools.shared import add_shared

ROOT = Path(__file__).resolve().parents[1]
SHARES = (0.7, 0.6, 0.5, 0.4)
BATCH = 64
TOKENS = 64


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="?", default="train,table", help=f"of {', '.join(PARTS)}, by commas")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "head_classify_imagenette.yaml")
    parser.add_argument("--caches", type=Path, default=ROOT / "runs" / "codes")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "head_study")
    add_shared(parser)
    parser.add_argument("--inputs", default=",".join(INPUTS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--minutes", type=float, default=3.0, help="of each training")
    parser.add_argument("--model", help="a name or a folder; the bundled one by default")
    return parser.parse_args(argv)


class Study:
    """The parts, over what the command line says."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.codec = onedpiece.load(args.model)
        cache = args.caches / "imagenette.parquet"
        self.material = Material(cache, source("imagenette", args.shared), self.codec, args.work / "pictures")
        self.settings = read_settings(args.config, args.minutes)
        self.results = args.work / self.codec.fingerprint.hex()
        self.results.mkdir(parents=True, exist_ok=True)

    def train(self) -> None:
        """Train what is not trained yet."""
        for seed in (int(word) for word in self.args.seeds.split(",")):
            for name in INPUTS:
                path = self.results / f"{name}-{seed}.json"
                if name in self.args.inputs.split(",") and not path.exists():
                    self._train_one(name, seed, path)

    def _train_one(self, name: Input, seed: int, path: Path) -> None:
        torch.set_num_threads(1)
        if name == "codes":
            cells = train_codes(self.material, self.settings, seed, path.with_suffix(""))
        else:
            cells = train_pixels(self.material, name, self.settings, seed)
        write_cells(path, cells)
        scores = ", ".join(f"{c.tokens}: {c.top1:.3f}" for c in cells if c.top1 is not None)
        print(f"{name}, seed {seed}, {cells[0].steps} steps: {scores}", flush=True)

    def table(self) -> None:
        """Write the numbers that there are as CSV, and their means."""
        cells = read_cells(self.results)
        (self.results / "results.csv").write_text(to_csv(cells), encoding="utf-8")
        self._say("table", to_markdown(cells))

    def speed(self) -> None:
        """Time fresh networks; weights do not matter."""
        codes = self.material.codes(TEST).indices[:BATCH, :TOKENS].long()
        side, config = self.codec.image_size, self.settings.head
        pixels = torch.randint(256, (BATCH, side, side, 3), dtype=torch.uint8)
        head, vit = fresh_head(config, self.codec, 0).eval(), fresh_vit(config, side, 0).eval()
        calls = {
            f"ViT on {side}-px pixels": lambda: vit(to_network(pixels)),
            f"head on {TOKENS} tokens": lambda: head(codes).logits,
        }
        lines = ["| | photos/s | times the first |", "|---|---:|---:|"]
        lines += [f"| {r.name} | {r.per_second:.0f} | {1 / r.share:.1f} |" for r in rates(calls, BATCH)]
        threads = f"Batch {BATCH}, {torch.get_num_threads()} threads, float32."
        self._say("speed", "\n".join([*lines, "", threads]))

    def reduce(self) -> None:
        """Measure the study's first trained head with fewer and fewer tokens left."""
        head = load_head(self.results / "codes-0" / "head.safetensors").head
        lines = ["| tokens | left | top-1 % | time |", "|---:|---:|---:|---:|"]
        for tokens in (64, 256):
            rows = reduce_in_front(head, self.material.codes(TEST), SHARES, tokens)
            lines += [
                f"| {r.tokens} | {r.keep_ratio:.0%} | {100 * r.top1:.1f} | {r.time:.0%} |" for r in rows
            ]
        self._say("reduce", "\n".join(lines))

    def _say(self, part: str, text: str) -> None:
        (self.results / f"{part}.md").write_text(text + "\n", encoding="utf-8")
        print(text, flush=True)


PARTS: dict[str, Callable[[Study], None]] = {
    "train": Study.train,
    "table": Study.table,
    "speed": Study.speed,
    "reduce": Study.reduce,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the parts that were asked for."""
    args = parse(argv)
    study = Study(args)
    for part in args.parts.split(","):
        PARTS[part](study)


if __name__ == "__main__":
    main()
