"""Print how real a model's pictures look, by token count and sharpness, over folders of labelled photos.

    python -m tools.evaluate_looks --tokens 64,256 --sharpness 0,0.5,1 --out looks
        --data PHOTOS MORE_PHOTOS
        --judge CLASSIFIER.tflite
        --efficientnet efficientnet_lite0.safetensors

PSNR, SSIM, LPIPS-Alex, LPIPS-squeeze, EfficientNet-Lite0's distance, what a held-out classifier says (top-1,
top-5 and the mean probability of the true class), and the power at the patch period, which shows a mesh
(1: none). It writes OUT.md, OUT.csv (means and standard errors) and OUT.photos.csv (every photo, for paired
comparisons); of several folders also all photos together. `--scored PHOTOS.csv ...` in place of `--data`
makes the tables of what earlier runs left, as of folders that were measured side by side on several cores.

Labels of a folder FOLDER come from FOLDER.tsv (columns file, imagenet_class_index), or from subfolders that
are named by WordNet ids. What needs a network that is not named, or not there, is left out.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import onedpiece
from onedpiece._files import atomic_path, atomic_write_text
from onedpiece.codec import Codec
from onedpiece.codec.images import read_square
from onedpiece.codec.tensors import to_image, to_tensor
from onedpiece.errors import MissingWeightsError
from onedpiece.evaluation.classifier import HeldOutClassifier
from onedpiece.evaluation.photos import find_photos, read_class_labels
from onedpiece.metrics.perceptual import EfficientNetLite, FeatureDistance, Lpips
from onedpiece.metrics.periodicity import mesh_ratio
from onedpiece.metrics.pixel import psnr, round_to_8_bits, ssim
from tools.markdown import table
from tools.shared import IMAGENETTE

COLUMNS = {
    "bytes": ("bytes", 0),
    "psnr": ("PSNR (dB) ↑", 2),
    "ssim": ("SSIM ↑", 3),
    "lpips-alex": ("LPIPS-Alex ↓", 3),
    "lpips-squeeze": ("LPIPS-squeeze ↓", 3),
    "efficientnet": ("EfficientNet ↓", 3),
    "top1": ("top-1 % ↑", 1),
    "top5": ("top-5 % ↑", 1),
    "probability": ("p(true) % ↑", 1),
    "mesh": ("mesh (1: none)", 2),
}
"""What is measured: title, and digits after the point."""

_WITH_ERROR = ("top1", "top5", "probability")  # whose standard errors are printed too; the CSV has them all


class Setting(NamedTuple):
    """What to decode; of the originals, neither is given."""

    tokens: int | None
    sharpness: float | None


ORIGINAL = Setting(None, None)


class Networks(NamedTuple):
    """The networks that could be loaded."""

    lpips: dict[str, Lpips]
    features: FeatureDistance | None
    classifier: HeldOutClassifier | None


class LabelledPath(NamedTuple):
    """A photo on disk, and its ImageNet class index where there is one."""

    name: str
    path: Path
    label: int | None


class Reference(NamedTuple):
    """A batch of photos and what is computed of them only once."""

    pixels: Tensor  # (B, 3, S, S) in [0, 1]
    lpips: dict[str, list[Tensor]]
    features: list[Tensor] | None


Scores = dict[str, list[float]]
"""By a name of COLUMNS, one value a photo; of photos without a label, NaN."""


@dataclass
class Looks:
    """Every score of one folder: by setting, then by name of COLUMNS, one a photo."""

    names: list[str] = field(default_factory=list)
    scores: dict[Setting, Scores] = field(default_factory=dict)

    def add(self, setting: Setting, scores: Scores) -> None:
        """Append a batch's scores."""
        of_setting = self.scores.setdefault(setting, {})
        for name, values in scores.items():
            of_setting.setdefault(name, []).extend(values)


def labelled_photos(folder: Path, limit: int | None) -> list[LabelledPath]:
    """Return the photos below a folder, evenly spread over it where there are more than `limit`."""
    labels = folder.with_name(f"{folder.name}.tsv")
    by_name: Mapping[str, int] = read_class_labels(labels) if labels.is_file() else {}
    found = [
        LabelledPath(name, path, by_name.get(name, IMAGENETTE.get(path.parent.name)))
        for name, path in find_photos([folder]).photos
    ]
    count = min(limit or len(found), len(found))
    return [found[at * len(found) // count] for at in range(count)]


def load_networks(judge: Path | None, efficientnet: Path | None) -> Networks:
    """Load what there is, and say on standard error what is not."""
    lpips: dict[str, Lpips] = {}
    for name, net in (("lpips-alex", "alex"), ("lpips-squeeze", "squeeze")):
        try:
            lpips[name] = Lpips(net)
        except MissingWeightsError as error:
            print(error, file=sys.stderr)
    return Networks(
        lpips,
        FeatureDistance(EfficientNetLite(efficientnet)) if efficientnet else None,
        HeldOutClassifier(judge) if judge else None,
    )


@torch.no_grad()
def measure(
    codec: Codec, photos: Sequence[LabelledPath], settings: Sequence[Setting], networks: Networks, batch: int
) -> Looks:
    """Decode every photo at every setting and score it by everything, in one pass over the photos."""
    looks = Looks()
    for start in range(0, len(photos), batch):
        part = photos[start : start + batch]
        images = [read_square(photo.path, codec.tokenizer.config.image_size) for photo in part]
        looks.names += [photo.name for photo in part]
        labels = [photo.label for photo in part]
        for setting, scores in _scores(codec, images, labels, settings, networks):
            looks.add(setting, scores)
        print(f"{start + len(part)} of {len(photos)} photos", file=sys.stderr, flush=True)
    return looks


def _scores(
    codec: Codec,
    images: Sequence[Image.Image],
    labels: Sequence[int | None],
    settings: Sequence[Setting],
    networks: Networks,
) -> Iterator[tuple[Setting, Scores]]:
    pixels = to_tensor(images).to(codec.device)
    reference = Reference(
        pixels,
        {name: lpips.features(pixels) for name, lpips in networks.lpips.items()},
        None if networks.features is None else networks.features.features(pixels),
    )
    period = codec.tokenizer.config.patch_size
    yield ORIGINAL, _without_reference(pixels, images, labels, networks, period)
    codes = codec.encode_batch(images)
    indices = torch.from_numpy(np.stack([code.indices for code in codes]).astype(np.int64)).to(codec.device)
    for setting in settings:
        decoded = round_to_8_bits(_detokenize(codec, indices[:, : setting.tokens], setting.sharpness))
        shown = [to_image(picture) for picture in decoded.cpu()]
        sizes = [float(len(code[: setting.tokens].to_bytes())) for code in codes]
        scores = _beside(reference, decoded, networks)
        scores |= _without_reference(decoded, shown, labels, networks, period)
        yield setting, {"bytes": sizes} | scores


def _detokenize(codec: Codec, indices: Tensor, sharpness: float | None) -> Tensor:
    return codec.tokenizer.detokenize(indices, sharpness=sharpness or 0.0)


def _beside(reference: Reference, decoded: Tensor, networks: Networks) -> Scores:
    scores = {"psnr": psnr(reference.pixels, decoded), "ssim": ssim(reference.pixels, decoded)}
    for name, lpips in networks.lpips.items():
        scores[name] = lpips(reference.lpips[name], decoded)
    if networks.features is not None and reference.features is not None:
        scores["efficientnet"] = networks.features(reference.features, decoded)
    return {name: values.tolist() for name, values in scores.items()}


def _without_reference(
    pixels: Tensor,
    images: Sequence[Image.Image],
    labels: Sequence[int | None],
    networks: Networks,
    period: int,
) -> Scores:
    scores: Scores = {"mesh": mesh_ratio(pixels, period).tolist()}
    if networks.classifier is not None:
        # A label of 0 stands in where there is none; what comes of it is not kept.
        said = networks.classifier.score(images, [label or 0 for label in labels])
        for name in ("top1", "top5", "probability"):
            scores[name] = [
                float("nan") if label is None else 100 * float(getattr(score, name))
                for label, score in zip(labels, said, strict=True)
            ]
    return scores


class Mean(NamedTuple):
    """A mean over photos, and its standard error."""

    value: float
    error: float


def mean_of(values: Sequence[float]) -> Mean | None:
    """Return the mean of the values that are no NaN; None where there is none."""
    known = [value for value in values if value == value]
    if not known:
        return None
    return Mean(fmean(known), stdev(known) / sqrt(len(known)) if len(known) > 1 else float("nan"))


def markdown(title: str, looks: Looks) -> str:
    """Return one folder's table, with the columns that anything is known of."""
    means = {
        setting: {name: mean_of(values) for name, values in scores.items()}
        for setting, scores in looks.scores.items()
    }
    names = [name for name in COLUMNS if any(of.get(name) for of in means.values())]
    lines = []
    for setting, of in means.items():
        first = ["original", "–"] if setting == ORIGINAL else [str(setting.tokens), f"{setting.sharpness:g}"]
        lines.append(first + [_cell(name, of.get(name)) for name in names])
    text = table(["tokens", "sharpness", *(COLUMNS[name][0] for name in names)], lines, left=0)
    return f"{title}, {len(looks.names)} photos; ± one standard error\n\n{text}\n"


def _cell(name: str, mean: Mean | None) -> str:
    if mean is None:
        return "–"
    digits = COLUMNS[name][1]
    error = f" ± {mean.error:.{digits}f}" if name in _WITH_ERROR else ""
    return f"{mean.value:.{digits}f}{error}"


def write_csv(path: Path, of_folders: Mapping[str, Looks]) -> None:
    """Write a row a folder and setting: every mean, and its standard error."""
    titles = [title for name in COLUMNS for title in (name, f"{name}_se")]
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["data", "photos", *Setting._fields, *titles])
        for folder, looks in of_folders.items():
            for setting, scores in looks.scores.items():
                means = [mean_of(scores.get(name, ())) or ("", "") for name in COLUMNS]
                writer.writerow([folder, len(looks.names), *setting, *(x for pair in means for x in pair)])


def write_photos_csv(path: Path, of_folders: Mapping[str, Looks]) -> None:
    """Write a row a folder, setting and photo."""
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["data", "photo", *Setting._fields, *COLUMNS])
        for folder, looks in of_folders.items():
            for setting, scores in looks.scores.items():
                for at, photo in enumerate(looks.names):
                    values = [scores[name][at] if name in scores else "" for name in COLUMNS]
                    writer.writerow([folder, photo, *setting, *values])


def read_photos_csv(paths: Sequence[Path]) -> dict[str, Looks]:
    """Read what `write_photos_csv` wrote, of one run or of several."""
    found: dict[str, Looks] = {}
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                looks = found.setdefault(row["data"], Looks())
                setting = Setting(
                    int(row["tokens"]) if row["tokens"] else None,
                    float(row["sharpness"]) if row["sharpness"] else None,
                )
                if setting == ORIGINAL:  # of every photo, and first
                    looks.names.append(row["photo"])
                looks.add(setting, {name: [float(row[name])] for name in COLUMNS if row[name]})
    return found


def together(of_folders: Mapping[str, Looks]) -> Looks:
    """Pool the photos of all folders."""
    pool = Looks()
    for looks in of_folders.values():
        pool.names += looks.names
        for setting, scores in looks.scores.items():
            pool.add(setting, scores)
    return pool


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--data", type=Path, nargs="+", help="folders of photos, a table each")
    given.add_argument("--scored", type=Path, nargs="+", help="OUT.photos.csv of earlier runs")
    parser.add_argument("--model", help="a name or a folder; the bundled model by default")
    parser.add_argument("--tokens", default="32,64,128,256", help="token counts, by commas")
    parser.add_argument("--sharpness", default="0", help="values from 0 to 1, by commas")
    parser.add_argument("--judge", type=Path, help="a TFLite ImageNet classifier (extra: judge)")
    parser.add_argument("--efficientnet", type=Path, help="its weights, safetensors (extra: retokenize)")
    parser.add_argument("--limit", type=int, help="at most so many photos a folder, evenly spread")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="torch's threads; as many as cores by default")
    parser.add_argument("--out", type=Path, help="write OUT.md, OUT.csv and OUT.photos.csv")
    return parser.parse_args(argv)


def measure_folders(args: argparse.Namespace) -> dict[str, Looks]:
    """Measure the photos of every folder that the command line names."""
    settings = [
        Setting(int(tokens), float(sharpness))
        for tokens in args.tokens.split(",")
        for sharpness in args.sharpness.split(",")
    ]
    networks = load_networks(args.judge, args.efficientnet)
    codec = onedpiece.load(args.model, device=args.device)
    print(f"{codec.name}, code space {codec.fingerprint.hex()}", file=sys.stderr)
    return {
        str(folder): measure(codec, labelled_photos(folder, args.limit), settings, networks, args.batch_size)
        for folder in args.data
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return the exit status."""
    args = parse(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    of_folders = read_photos_csv(args.scored) if args.scored else measure_folders(args)
    tables = [markdown(Path(folder).name, looks) for folder, looks in of_folders.items()]
    if len(of_folders) > 1:
        tables.append(markdown("All folders together", together(of_folders)))
    print("\n".join(tables))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(args.out.with_name(f"{args.out.name}.md"), "\n".join(tables))
        write_csv(args.out.with_name(f"{args.out.name}.csv"), of_folders)
        write_photos_csv(args.out.with_name(f"{args.out.name}.photos.csv"), of_folders)
    return 0


if __name__ == "__main__":
    sys.exit(main())
