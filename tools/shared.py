"""The maintainers' folder of photographs and weights, which a clone does not have."""

import argparse
import os
from pathlib import Path

VARIABLE = "ONEDPIECE_SHARED"


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
