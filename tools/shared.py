"""The maintainers' folder of photographs and weights, which a clone does not have, and its labels."""

import argparse
import os
from pathlib import Path

VARIABLE = "ONEDPIECE_SHARED"

IMAGENETTE = {
    "n01440764": 0,  # tench
    "n02102040": 217,  # English springer
    "n02979186": 482,  # cassette player
    "n03000684": 491,  # chain saw
    "n03028079": 497,  # church
    "n03394916": 566,  # French horn
    "n03417042": 569,  # garbage truck
    "n03425413": 571,  # gas pump
    "n03445777": 574,  # golf ball
    "n03888257": 701,  # parachute
}
"""Its ten classes: WordNet id -> ImageNet class index."""


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Add `--shared FOLDER`; without it the environment says where that is, or `needed` ends the tool."""
    parser.add_argument(
        "--shared",
        type=Path,
        metavar="FOLDER",
        default=os.environ.get(VARIABLE),
        help=f"photographs, labels, weights and the judge; by default {VARIABLE} of the environment",
    )


def needed(shared: Path | None) -> Path:
    """Return the folder, or leave with one line where none was given."""
    if shared is None:
        raise SystemExit(f"this needs photographs: give --shared FOLDER, or set {VARIABLE}")
    return shared
