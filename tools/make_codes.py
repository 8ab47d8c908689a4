"""Tokenize the photos that heads are trained on, once, or go on where that was cut short.

python -m tools.make_codes [imagenette,camvid,pennfudan,scenes] [--shared FOLDER] [--out runs/codes]
[--variants plain,flip,crop1,crop2,crop3] [--model M] [--device cpu]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import onedpiece
from onedpiece._progress import progress_bar
from onedpiece.heads import Task
from onedpiece.training.codes import CamVid, DepthScenes, Imagenette, PennFudan, Source, build_cache
from tools.shared import add_shared, needed

ROOT = Path(__file__).resolve().parents[1]
SOURCES: dict[Task, str] = {
    "classify": "imagenette",
    "segment": "camvid",
    "detect": "pennfudan",
    "depth": "scenes",
}
"""Which photos stand for a task."""

NAMES = tuple(SOURCES.values())


def source(name: str, shared: Path | None) -> Source:
    """Return a source by its name, one of NAMES; scenes need no photographs."""
    if name == "scenes":
        return DepthScenes()
    data = needed(shared) / "data"
    if name == "imagenette":
        train = data / "train"
        return Imagenette(str(train), str(train / "index.tsv"), str(data / "downstream/imagenette_val"))
    if name == "camvid":
        return CamVid(str(data / "downstream/camvid"))
    if name == "pennfudan":
        return PennFudan(str(data / "downstream/pennfudan"))
    raise ValueError(f"no source {name!r}; there are: {', '.join(NAMES)}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="?", default=",".join(NAMES), help="sources, by commas")
    add_shared(parser)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "codes")
    parser.add_argument("--variants", default="plain,flip,crop1,crop2,crop3")
    parser.add_argument("--model", help="a name or a folder; the bundled one by default")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse(argv)
    codec = onedpiece.load(args.model, args.device)
    for name in args.names.split(","):
        photos, path = source(name, args.shared), args.out / f"{name}.parquet"
        with progress_bar(name) as progress:
            build_cache(path, photos, codec, args.variants.split(","), progress)
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
