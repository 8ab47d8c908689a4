"""`entropy.json`: the entropy coder's tables beside a model's weights, in its folder or bundled."""

import json
from functools import cache
from pathlib import Path

from onedpiece._files import one_line
from onedpiece.bitstream.entropy import Tables
from onedpiece.errors import EntropyTablesError

FILE = "entropy.json"
BUNDLED = Path(__file__).parent


def load_tables(folder: str | Path, fingerprint: bytes) -> Tables | None:
    """Return the tables in a model's folder; None where there are none.

    Args:
        folder: of the model.
        fingerprint: the model's, 4 bytes.

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
        raise EntropyTablesError(f"{path} holds no entropy tables: {one_line(error)}") from error
    raise EntropyTablesError(
        f"{path} was made for model {stated}, beside it is {fingerprint.hex()}; fetch the model anew, or "
        "remove the file: without it, files are a little larger"
    )


def tables_beside(folder: str | Path | None, fingerprint: bytes) -> Tables | None:
    """Return the tables in a model's folder, or else those of the bundled model of this fingerprint.

    Raises:
        EntropyTablesError: as `load_tables`.
    """
    found = None if folder is None else load_tables(folder, fingerprint)
    return found or bundled_tables(fingerprint)


def bundled_tables(fingerprint: bytes) -> Tables | None:
    """Return the tables of the bundled model of this fingerprint; None where there are none.

    Raises:
        EntropyTablesError: as `load_tables`.
    """
    return _bundled().get(fingerprint.hex())


@cache
def _bundled() -> dict[str, Tables]:
    stored = (json.loads(path.read_text()) for path in sorted(BUNDLED.glob(f"*/{FILE}")))
    return {plain["fingerprint"]: Tables.from_plain(plain) for plain in stored}
