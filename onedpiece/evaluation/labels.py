"""Class labels of a folder of photos, from a TSV file."""

import csv
from collections.abc import Mapping
from pathlib import Path

_COLUMNS = ("file", "imagenet_class_index")


def read_class_labels(path: Path) -> Mapping[str, int]:
    """Return the class index of each file name.

    Args:
        path: a TSV file whose header names the columns "file" and "imagenet_class_index" (0 to 999).

    Raises:
        ValueError: a column is missing, or an index is no whole number.
        OSError: the file cannot be opened.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        missing = [column for column in _COLUMNS if column not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path} has no column {' and no '.join(missing)}; its first line names the columns"
            )
        try:
            return {row["file"]: int(row["imagenet_class_index"]) for row in rows}
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: an imagenet_class_index is no whole number: {error}") from None
