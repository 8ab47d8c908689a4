"""The entropy coder's tables as files: `entropy.json` in a model's folder, the bundled ones found by name."""

import json
from functools import cache
from pathlib import Path

from onedpiece.bitstream.entropy import Tables
from onedpiece.bitstream.errors import EntropyTablesError

FILE = "entropy.json"
BUNDLED = Path(__file__).resolve().parents[1] / "weights"
"""Read as data only: a file of a bundled model can then be cut and described without the model."""


def load_tables(folder: str | Path, fingerprint: bytes) -> Tables | None:
    """Return the tables in a model's folder; None where there are none.

    Raises:
        EntropyTablesError: they are damaged, or another model's; the message is one line.
    """
    path = Path(folder) / FILE
    try:
        plain = json.loads(path.read_text())
        stated = plain["fingerprint"]
        if stated == fingerprint.hex():
            return Tables.from_plain(plain)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EntropyTablesError(f"{path} holds no entropy tables: {' '.join(str(error).split())}") from error
    raise EntropyTablesError(
        f"{path} was made for model {stated}, beside it is {fingerprint.hex()}; "
        "make it anew with tools/fit_entropy_tables.py, or remove it"
    )


def tables_beside(folder: str | Path | None, fingerprint: bytes) -> Tables | None:
    """Return the tables in a model's folder, or else those of the bundled model of this fingerprint.

    Raises:
        EntropyTablesError: as `load_tables`.
    """
    found = None if folder is None else load_tables(folder, fingerprint)
    return found or bundled_tables(fingerprint)


@cache
def bundled_tables(fingerprint: bytes) -> Tables | None:
    """Return the tables of the bundled model of this fingerprint; None where there are none.

    Raises:
        EntropyTablesError: as `load_tables`.
    """
    for path in sorted(BUNDLED.glob(f"*/{FILE}")):
        if f'"{fingerprint.hex()}"' in path.read_text():
            return load_tables(path.parent, fingerprint)
    return None
