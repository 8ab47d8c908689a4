import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onedpiece.bitstream import Code

CODE = Code(np.arange(64), 4096, bytes.fromhex("0badcafe"), (481, 321))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two codes and a text that claims to be one."""
    (tmp_path / "a.odp").write_bytes(CODE.to_bytes() + b"\x01")
    (tmp_path / "b.odp").write_bytes(Code(np.arange(3), 1000, b"\0\0\0\1").to_bytes())
    (tmp_path / "c.odp").write_text("hello")
    return tmp_path


def test_lines(cli: Any, folder: Path) -> None:
    result = cli("info", folder / "a.odp", folder / "b.odp")
    # a: 7 + 4 + 96 bytes and one left over, 8·108 / (481·321) = 0.0056; b: 7 + 2 + 1 + 4, 1000^3 in 30 bits
    assert (result.status, result.err) == (0, "")
    assert result.out.decode().splitlines() == [
        f"{folder}/a.odp: 64 tokens of 4096, 108 bytes, 481x321, 0.0056 bpp, model 0badcafe",
        f"{folder}/b.odp: 3 tokens of 1000, 14 bytes, model's own size, model 00000001",
    ]


def test_json_of_a_folder_with_a_bad_file(cli: Any, folder: Path) -> None:
    result = cli("info", folder, "--json")
    assert result.status == 1
    assert result.err.startswith(f"onedpiece: {folder}/c.odp: not an .odp file")
    first, second = (json.loads(line) for line in result.out.splitlines())
    assert first == {
        "file": f"{folder}/a.odp",
        "tokens": 64,
        "bytes": 108,
        "bpp": pytest.approx(8 * 108 / (481 * 321)),
        "width": 481,
        "height": 321,
        "codebook_size": 4096,
        "fingerprint": "0badcafe",
    }
    assert (second["width"], second["height"], second["bpp"]) == (None, None, None)


def test_standard_input(cli: Any) -> None:
    assert cli("info", "-", stdin=CODE[:1].to_bytes()).out.startswith(b"-: 1 token of 4096, 13 bytes")


def test_one_bad_file(cli: Any, folder: Path) -> None:
    assert cli("info", folder / "c.odp").status == 2
    assert cli("info", folder / "none.odp") == (
        2,
        b"",
        f"onedpiece: {folder}/none.odp: No such file or directory\n",
    )
